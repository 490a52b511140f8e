import type { TemplateDelegate } from 'handlebars';

import type { Logo, Paper } from './paper';

/** A page by itself: no script, nothing from elsewhere, fit for a mail, a browser and a printer. */
const TEMPLATE = `<!doctype html>
<html lang="{{language}}" dir="{{direction}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}{{#if number}} {{number}}{{/if}}</title>
<style>
body { margin: 0; background: #f4f5f7; color: #1d2430; font: 14px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 760px; margin: 24px auto; padding: 40px; background: #fff; border: 1px solid #dfe3e8; }
header, .parties { display: flex; justify-content: space-between; gap: 32px; }
h1 { margin: 0; font-size: 26px; font-weight: 600; }
.mark { display: inline-block; margin-top: 6px; padding: 2px 10px; border: 1px solid currentColor; border-radius: 12px; color: #1f7a4d; font-size: 13px; }
.mark.off { color: #a2402a; }
.logo { max-width: 200px; max-height: 72px; }
.parties { margin: 28px 0; }
.parties section { flex: 1; overflow-wrap: anywhere; }
h2, th { margin: 0; color: #667085; font-size: 12px; font-weight: 500; }
.facts { margin: 0; }
.facts div { display: flex; justify-content: space-between; gap: 16px; }
.facts dt { color: #667085; }
.facts dd { margin: 0; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 8px 0 8px 12px; border-bottom: 1px solid #dfe3e8; text-align: end; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { padding: 8px 0; text-align: start; white-space: normal; overflow-wrap: anywhere; }
small { display: block; color: #667085; }
.sums { width: 60%; margin: 16px 0 0 auto; margin-inline: auto 0; }
.sums td { padding: 4px 0; border: 0; }
.sums .strong td { font-weight: 600; border-top: 1px solid #dfe3e8; }
.notes { margin-top: 24px; white-space: pre-line; }
footer { margin-top: 32px; padding-top: 12px; border-top: 1px solid #dfe3e8; color: #667085; font-size: 12px; white-space: pre-line; }
@media print { body { background: #fff; } main { margin: 0; padding: 0; border: 0; max-width: none; } thead { display: table-header-group; } tr { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header>
<div><h1>{{title}}</h1>{{#if mark}}<span class="mark{{#if isVoidOrDraft}} off{{/if}}">{{mark}}</span>{{/if}}</div>
{{#if logo}}<img class="logo" alt="" src="{{logo}}">{{/if}}
</header>
<div class="parties">
<section><h2>{{sellerLabel}}</h2>{{#each seller}}<div>{{this}}</div>{{/each}}</section>
<section><h2>{{buyerLabel}}</h2>{{#each buyer}}<div>{{this}}</div>{{/each}}</section>
<section><dl class="facts">{{#each facts}}<div><dt>{{label}}</dt><dd>{{value}}</dd></div>{{/each}}</dl></section>
</div>
<table>
<thead><tr><th scope="col">{{heads.description}}</th><th scope="col">{{heads.quantity}}</th><th scope="col">{{heads.unitPrice}}</th>{{#if hasDiscount}}<th scope="col">{{heads.discount}}</th>{{/if}}<th scope="col">{{heads.net}}</th></tr></thead>
<tbody>
{{#each lines}}<tr><td>{{description}}{{#each details}}<small>{{this}}</small>{{/each}}</td><td>{{quantity}}</td><td>{{unitPrice}}</td>{{#if ../hasDiscount}}<td>{{discount}}</td>{{/if}}<td>{{net}}</td></tr>
{{/each}}</tbody>
</table>
<table class="sums"><tbody>
{{#each sums}}<tr{{#if strong}} class="strong"{{/if}}><td>{{label}}</td><td>{{value}}</td></tr>
{{/each}}</tbody></table>
{{#if notes}}<div class="notes">{{#each notes}}<div>{{this}}</div>{{/each}}</div>{{/if}}
{{#if footer}}<footer>{{footer}}</footer>{{/if}}
</main>
</body>
</html>
`;

let compiled: TemplateDelegate | undefined;

/** Sets a paper as HTML. The library is loaded with the first paper. */
export async function htmlOf(
  paper: Paper,
  number: string | null,
  logo: Logo | null,
): Promise<string> {
  if (compiled === undefined) {
    const { default: handlebars } = await import('handlebars');
    compiled = handlebars.create().compile(TEMPLATE, { strict: false });
  }
  const picture =
    logo === null ? null : `data:${logo.mimeType};base64,${logo.content.toString('base64')}`;
  return compiled({ ...paper, number, logo: picture });
}
