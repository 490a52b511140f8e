/** Drives n8n's editor in a headless browser, as its owner. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cleanEnvironment, ensureHost, type Host } from './install';
import { ROOT } from './package';
import { OWNER, type RealN8n, type Workflow } from './real-n8n';

// What is used of playwright-core, which is installed in the cache folder and not beside this file,
// so that its own types are not at hand.

export interface Locator {
  first(): Locator;
  last(): Locator;
  filter(options: { hasText?: string | RegExp; visible?: boolean }): Locator;
  waitFor(options?: { state?: 'attached' | 'visible' | 'hidden' }): Promise<void>;
  click(): Promise<void>;
  dblclick(): Promise<void>;
  fill(text: string): Promise<void>;
  count(): Promise<number>;
  allInnerTexts(): Promise<string[]>;
}

export interface Page {
  goto(url: string): Promise<unknown>;
  url(): string;
  locator(selector: string): Locator;
  getByTestId(id: string): Locator;
  waitForURL(matches: (url: URL) => boolean): Promise<void>;
  waitForFunction(expression: string): Promise<unknown>;
  evaluate(expression: string): Promise<unknown>;
  screenshot(options: { path: string; animations: 'disabled' }): Promise<unknown>;
  readonly keyboard: { type(text: string): Promise<void>; press(key: string): Promise<void> };
  /** Asked before the click that opens it. */
  waitForEvent(event: 'filechooser'): Promise<{ setFiles(file: string): Promise<void> }>;
  setDefaultTimeout(milliseconds: number): void;
  on(event: 'pageerror', listener: (error: Error) => void): void;
}

/** More than enough for the slowest machine: what is waited for comes, or something is broken. */
const PATIENCE_MS = 180_000;

interface Browser {
  newPage(options: {
    viewport: { width: number; height: number };
    reducedMotion: 'reduce';
    colorScheme: 'light' | 'dark';
  }): Promise<Page>;
  version(): string;
  close(): Promise<void>;
}

interface Playwright {
  chromium: {
    launch(options: {
      executablePath: string;
      args: readonly string[];
      env: Record<string, string>;
    }): Promise<Browser>;
  };
  selectors: { setTestIdAttribute(name: string): void };
}

export interface EditorOptions {
  width?: number;
  height?: number;
  /** The editor follows it, and takes the dark icons of nodes. */
  colorScheme?: 'light' | 'dark';
}

/** Names a browser to use in place of those that are found. */
const BROWSER_VARIABLE = 'BILLING_TEST_BROWSER';
const SYSTEM_BROWSERS = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];
const FLAGS = [
  // As root, as in most containers, Chromium does not start with its sandbox. It sees our n8n only.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  // Else it looks up its maker's servers at every start, many at a time.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** A search result list that has not changed for so long is taken as final. */
const SETTLED_MS = 1_000;
const SETTLE_TIMEOUT_MS = 20_000;
const IMAGES = path.join(ROOT, 'docs', 'images');

export class Editor {
  /** Errors that no code of the page caught. */
  readonly pageErrors: string[] = [];

  private constructor(
    private readonly n8n: RealN8n,
    private readonly browser: Browser,
    /** For what this class has no method for. */
    readonly page: Page,
  ) {
    page.on('pageerror', (error) => this.pageErrors.push(error.message));
  }

  /** Starts a browser and logs in through the form. */
  static async open(n8n: RealN8n, options: EditorOptions = {}): Promise<Editor> {
    const browser = await launchBrowser(await ensureHost());
    try {
      const page = await browser.newPage({
        viewport: { width: options.width ?? 1440, height: options.height ?? 900 },
        reducedMotion: 'reduce',
        colorScheme: options.colorScheme ?? 'light',
      });
      page.setDefaultTimeout(PATIENCE_MS);
      const editor = new Editor(n8n, browser, page);
      await editor.logIn();
      return editor;
    } catch (error) {
      await browser.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.browser.close();
  }

  /** Types into the node creator of a new workflow and returns the titles that it then lists. */
  async searchNodes(text: string): Promise<string[]> {
    await this.page.goto(`${this.n8n.url}/workflow/new`);
    await this.page.getByTestId('node-creator-plus-button').click();
    await this.page.getByTestId('node-creator-search-bar').fill(text);
    const titles = this.page.locator(
      `${testId('node-creator')} ${testId('node-creator-item-name')}`,
    );
    return await settled(() => titles.allInnerTexts());
  }

  /** Opens a workflow on the canvas and waits until its nodes are there. */
  async openWorkflow(workflow: Pick<Workflow, 'id'>): Promise<void> {
    await this.page.goto(`${this.n8n.url}/workflow/${workflow.id}`);
    await this.page.getByTestId('canvas-node').first().waitFor();
  }

  /** Opens the parameter panel of a node and returns the labels of the parameters it shows. */
  async openNode(workflow: Pick<Workflow, 'id'>, node: string): Promise<string[]> {
    await this.openWorkflow(workflow);
    const name = JSON.stringify(node);
    await this.page.locator(`${testId('canvas-node')}[data-node-name=${name}]`).dblclick();
    await this.page.getByTestId('ndv').waitFor();
    await this.page.getByTestId('node-parameters').waitFor();
    return await this.labels();
  }

  /** Adds a field to the collection that says "Add Field", and returns the labels there are then. */
  async addField(field: string): Promise<string[]> {
    const adding = ['collection-parameter-add', 'collection-parameter-add-dropdown']
      .map(testId)
      .flatMap((id) => [
        `${id}:has(input[placeholder="Add Field"])`,
        `${id}:has-text("Add Field")`,
      ]);
    await this.page.locator(adding.join()).last().click();
    const choices = this.page.locator(`${testId('collection-parameter-option')}, [role=menuitem]`);
    await choices.filter({ hasText: new RegExp(`^\\s*${field}\\s*$`), visible: true }).click();
    return await this.labels();
  }

  /** All that the open panel says, its hints beside the parameters too. */
  async said(): Promise<string> {
    return (await this.page.getByTestId('ndv').allInnerTexts()).join('\n');
  }

  private async labels(): Promise<string[]> {
    // Each label also holds the parameter's menu; those of the other tab are there but hidden.
    const labels = this.page.locator(
      `${testId('node-parameters')} ${testId('input-label')} label > div:first-child:visible`,
    );
    // Lists of a resource locator and the like arrive after the panel itself.
    return await settled(() => labels.allInnerTexts());
  }

  /** Saves what the window shows, with all pictures loaded; folders are made as needed. */
  async screenshot(file: string): Promise<void> {
    await this.page.waitForFunction('[...document.images].every((image) => image.complete)');
    fs.mkdirSync(path.dirname(file), { recursive: true });
    await this.page.screenshot({ path: file, animations: 'disabled' });
  }

  /** Addresses of pictures in the page that could not be shown, such as an icon that is missing. */
  async brokenImages(): Promise<string[]> {
    await this.page.waitForFunction('[...document.images].every((image) => image.complete)');
    const broken = await this.page.evaluate(
      '[...document.images].filter((image) => image.naturalWidth === 0).map((image) => image.src)',
    );
    return broken as string[];
  }

  /** Addresses of the pictures in the page that come from a package, such as its nodes' icons. */
  async imagesOf(packageName: string): Promise<string[]> {
    const all = await this.page.evaluate('[...document.images].map((image) => image.src)');
    return (all as string[]).filter((address) => address.includes(`/${packageName}/`));
  }

  private async logIn(): Promise<void> {
    await this.page.goto(`${this.n8n.url}/signin`);
    await this.page.locator('input[name=emailOrLdapLoginId]').fill(OWNER.email);
    await this.page.locator('input[name=password]').fill(OWNER.password);
    await this.page.getByTestId('form-submit-button').click();
    await this.page.waitForURL((url) => url.pathname !== '/signin');
  }
}

/** The first browser that starts: the one that is asked for, else npm's, else the machine's. */
async function launchBrowser(host: Host): Promise<Browser> {
  const playwright = host.require('playwright-core') as Playwright;
  playwright.selectors.setTestIdAttribute('data-test-id');
  const failures: Error[] = [];
  for (const { executable, env } of browsers(host)) {
    try {
      return await playwright.chromium.launch({
        executablePath: executable,
        args: FLAGS,
        env: { ...cleanEnvironment(), ...env },
      });
    } catch (error) {
      failures.push(new Error(`${executable} did not start`, { cause: error }));
    }
  }
  throw new AggregateError(
    failures,
    'The editor tests need a browser: apt-get install chromium, ' +
      `or set ${BROWSER_VARIABLE} to a Chromium or Chrome (${failures.length} tried, none started).`,
  );
}

function browsers(host: Host): { executable: string; env?: Readonly<Record<string, string>> }[] {
  const chosen = process.env[BROWSER_VARIABLE];
  if (chosen) return [{ executable: chosen }];
  return [
    ...(host.browser ? [host.browser] : []),
    ...SYSTEM_BROWSERS.filter((file) => fs.existsSync(file)).map((executable) => ({ executable })),
  ];
}

/** A picture in the docs is written once, or when asked for; else a run leaves no trace. */
export function pictureFile(name: string, elsewhere: string): string {
  const image = path.join(IMAGES, `${name}.png`);
  const wanted = process.env['BILLING_UPDATE_IMAGES'] === '1' || !fs.existsSync(image);
  return wanted ? image : path.join(elsewhere, path.basename(image));
}

function testId(id: string): string {
  return `[data-test-id="${id}"]`;
}

/** Reads a list until it has stayed the same for a while. */
async function settled(read: () => Promise<string[]>): Promise<string[]> {
  const deadline = Date.now() + SETTLE_TIMEOUT_MS;
  let last = trimmed(await read());
  let since = Date.now();
  while (Date.now() - since < SETTLED_MS) {
    if (Date.now() > deadline) throw new Error(`the page keeps changing: ${last.join(', ')}`);
    await sleep(100);
    const now = trimmed(await read());
    if (now.join('\n') === last.join('\n')) continue;
    last = now;
    since = Date.now();
  }
  return last;
}

function trimmed(texts: readonly string[]): string[] {
  return texts.map((text) => text.trim());
}
