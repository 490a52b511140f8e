import { randomUUID } from 'node:crypto';

import Decimal from 'decimal.js';
import knexFactory, { type Knex } from 'knex';

import { DUE_AT } from './due-invoices';

/**
 * The same invoices as one writes them by hand: an account after the other, in a transaction each, a
 * row after the other through knex. It does what this very case needs, and nothing for any other: no
 * discounts, taxes, credit, tiers, children or merged accounts.
 */

const PRICES: Readonly<Record<string, string>> = { CALLS: '0.01', PAGES: '0.25' };

async function issueOne(knex: Knex, schema: string, payerId: string): Promise<void> {
  await knex.transaction(async (tx) => {
    const table = (name: string) => tx(name).withSchema(schema);
    const invoiceId = randomUUID();
    const lines: Array<Record<string, unknown> & { subtotal: string }> = [];
    const due = await table('pending_items')
      .where('payer_id', payerId)
      .whereNull('invoice_id')
      .whereNull('dropped_at')
      .where('due_at', '<=', DUE_AT)
      .forUpdate();
    const [period] = await table('subscription_periods')
      .where('payer_id', payerId)
      .where('ends_at', '<=', DUE_AT)
      .whereNull('drafted_at');
    await table('invoices').insert({
      payer_id: payerId,
      invoice_id: invoiceId,
      account_id: payerId,
      kind: 'cycle',
      status: 'draft',
      currency: 'USD',
      boundary_at: DUE_AT,
      created_at: DUE_AT,
      collection: 'send',
      collected_by: 'engine',
    });
    for (const item of due) {
      lines.push({
        kind: item.kind,
        item_id: item.item_id,
        account_id: item.account_id,
        quantity: item.quantity,
        unit_price: item.unit_price,
        subtotal: item.amount,
        sku: item.sku,
        version: item.version,
      });
      await table('pending_items')
        .where({ payer_id: payerId, item_id: item.item_id })
        .update({ invoice_id: invoiceId });
    }
    for (const [product, price] of Object.entries(PRICES)) {
      const entries = await table('entries')
        .where({ payer_id: payerId, product })
        .whereNotNull('overage')
        .where('effective_at', '<', DUE_AT);
      const used = entries.reduce((sum, { overage }) => sum.plus(overage), new Decimal(0));
      lines.push({
        kind: 'usage',
        account_id: payerId,
        product,
        quantity: used.toFixed(),
        unit_price: price,
        subtotal: used.times(price).toDecimalPlaces(2).toFixed(),
        sku: period.sku,
        version: period.version,
      });
      for (const { sequence } of entries) {
        await table('invoice_usage').insert({
          payer_id: payerId,
          entry_sequence: sequence,
          invoice_payer_id: payerId,
          invoice_id: invoiceId,
          position: lines.length,
        });
      }
      await table('usage_marks').insert({
        payer_id: payerId,
        product,
        billed_sequence: entries.at(-1).sequence,
      });
    }
    await table('subscription_periods')
      .where({ payer_id: payerId, subscription_id: period.subscription_id, number: period.number })
      .update({ drafted_at: DUE_AT });
    let total = new Decimal(0);
    for (const [index, line] of lines.entries()) {
      total = total.plus(line.subtotal);
      await table('invoice_lines').insert({
        ...line,
        payer_id: payerId,
        invoice_id: invoiceId,
        position: index + 1,
        line_id: randomUUID(),
        subscription_id: period.subscription_id,
        period_number: period.number,
        net: line.subtotal,
        total: line.subtotal,
        period_from: period.starts_at,
        period_to: period.ends_at,
      });
    }
    const sum = total.toFixed(2);
    const account = await table('accounts').where('account_id', payerId).first();
    const details = await table('account_details').where('account_id', payerId).first();
    const contact = await table('account_contacts').where('account_id', payerId).first();
    const tax = await table('account_taxes').where('account_id', payerId).first();
    await table('invoice_details').insert({
      payer_id: payerId,
      invoice_id: invoiceId,
      snapshot: JSON.stringify({ account, details, contact, tax }),
    });
    await table('postings').insert({
      payer_id: payerId,
      posting_id: randomUUID(),
      currency: 'USD',
      kind: 'sale',
      reference_type: 'invoice',
      reference_id: invoiceId,
      posted_at: DUE_AT,
      accounts: ['receivable', 'revenue'],
      gateways: [null, null],
      amounts: [sum, total.negated().toFixed(2)],
    });
    await table('collections').insert({
      payer_id: payerId,
      invoice_id: invoiceId,
      account_id: payerId,
      mode: 'send',
      status: 'waiting',
      opened_at: DUE_AT,
      next_due_at: DUE_AT,
    });
    for (const type of ['invoice.issued', 'invoice.sent']) {
      await table('events').insert({
        payer_id: payerId,
        event_id: randomUUID(),
        account_id: payerId,
        type,
        version: 1,
        data: JSON.stringify({ invoiceId, total: sum }),
        occurred_at: DUE_AT,
        recorded_at: DUE_AT,
      });
    }
    const [series] = await table('invoice_series')
      .insert({ series: 'INV', next_number: 2, last_issued_at: DUE_AT })
      .onConflict('series')
      .merge({ next_number: tx.raw('invoice_series.next_number + 1') })
      .returning('next_number');
    const number = BigInt(series.next_number) - 1n;
    await table('invoices')
      .where({ payer_id: payerId, invoice_id: invoiceId })
      .update({
        status: 'open',
        series: 'INV',
        number: String(number),
        number_text: `INV-${String(number).padStart(6, '0')}`,
        issued_at: DUE_AT,
        due_at: DUE_AT,
        sent_at: DUE_AT,
        subtotal: sum,
        net: sum,
        total: sum,
      });
  });
}

/** Issues the invoices of these accounts; gives the seconds it took. */
export async function issueByRow(
  url: string,
  schema: string,
  payerIds: readonly string[],
): Promise<number> {
  const knex = knexFactory({ client: 'pg', connection: url, pool: { min: 1, max: 1 } });
  try {
    await knex.raw('select 1');
    const begin = performance.now();
    for (const payerId of payerIds) await issueOne(knex, schema, payerId);
    return (performance.now() - begin) / 1_000;
  } finally {
    await knex.destroy();
  }
}
