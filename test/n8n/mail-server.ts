/** A mail server that takes every message and delivers none: what n8n's Send Email node speaks to. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface ReceivedMail {
  to: string;
  subject: string;
  /** With its headers, as it came. */
  source: string;
}

export class MailServer {
  readonly mails: ReceivedMail[] = [];
  private readonly server: Server = createServer((socket) => this.serve(socket));

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  async stop(): Promise<void> {
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** The credential by which n8n reaches it. */
  credential(id: string) {
    const { port } = this.server.address() as AddressInfo;
    return {
      id,
      name: 'SMTP',
      type: 'smtp',
      data: {
        host: '127.0.0.1',
        port,
        secure: false,
        disableStartTls: true,
        user: '',
        password: '',
      },
    };
  }

  private serve(socket: Socket): void {
    let unread = '';
    let source: string | null = null;
    const say = (line: string) => socket.write(`${line}\r\n`);
    say('220 test');
    socket.setEncoding('utf8').on('data', (text: string) => {
      unread += text;
      for (;;) {
        const end = unread.indexOf('\r\n');
        if (end < 0) return;
        const line = unread.slice(0, end);
        unread = unread.slice(end + 2);
        if (source !== null) {
          if (line !== '.') {
            source += `${line}\n`;
            continue;
          }
          this.receive(source);
          source = null;
          say('250 taken');
        } else if (/^DATA/i.test(line)) {
          source = '';
          say('354 go on');
        } else if (/^QUIT/i.test(line)) {
          say('221 bye');
          socket.end();
        } else {
          say('250 ok');
        }
      }
    });
    socket.on('error', () => socket.destroy());
  }

  private receive(source: string): void {
    const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'mi').exec(source)?.[1] ?? '';
    this.mails.push({ to: header('To'), subject: header('Subject'), source });
  }
}
