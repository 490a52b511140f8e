import type { INodeProperties } from 'n8n-workflow';

import * as addCredit from './addCredit';
import * as addItem from './addItem';
import * as create from './create';
import * as createCreditNote from './createCreditNote';
import * as deleteDraft from './deleteDraft';
import * as finalize from './finalize';
import * as get from './get';
import * as getAll from './getAll';
import * as getCollection from './getCollection';
import * as getCredit from './getCredit';
import * as getCreditNotes from './getCreditNotes';
import * as getSettings from './getSettings';
import * as markPaid from './markPaid';
import * as markUncollectible from './markUncollectible';
import * as preview from './preview';
import * as refund from './refund';
import * as removeItem from './removeItem';
import * as render from './render';
import * as retry from './retry';
import * as saveSettings from './saveSettings';
import * as updateItem from './updateItem';
import * as voidInvoice from './void';

const operations = {
  addCredit,
  addItem,
  create,
  createCreditNote,
  delete: deleteDraft,
  finalize,
  get,
  getAll,
  getCollection,
  getCredit,
  getCreditNotes,
  getSettings,
  markPaid,
  markUncollectible,
  preview,
  refund,
  removeItem,
  render,
  retry,
  saveSettings,
  updateItem,
  void: voidInvoice,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['invoice'] } },
    options: [
      {
        name: 'Add Credit',
        value: 'addCredit',
        action: 'Add credit to an account',
        description: 'Give money that the next invoices use before anything is charged',
      },
      {
        name: 'Add Item',
        value: 'addItem',
        action: 'Add an item to an invoice',
        description: 'Put a line on a draft, or on the next invoice of an account',
      },
      {
        name: 'Create',
        value: 'create',
        action: 'Create an invoice',
        description: 'Make a draft by hand, with items of your own',
      },
      {
        name: 'Create Credit Note',
        value: 'createCreditNote',
        action: 'Create a credit note',
        description: 'Correct an invoice that was issued, by all or a part of it',
      },
      {
        name: 'Delete Draft',
        value: 'delete',
        action: 'Delete a draft of an invoice',
        description: 'Throw a draft away; what was issued stays',
      },
      {
        name: 'Finalize',
        value: 'finalize',
        action: 'Finalize an invoice',
        description: 'Issue a draft: it gets its number, and never changes after that',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get an invoice',
        description: 'Get one invoice with its lines and taxes',
      },
      {
        name: 'Get Collection',
        value: 'getCollection',
        action: 'Get how far an invoice is collected',
        description:
          'Get how many attempts were made to collect an invoice, when the next one is, and what comes in the end',
      },
      {
        name: 'Get Credit',
        value: 'getCredit',
        action: 'Get credit of an account',
        description: 'Get the money that the next invoices of an account will use',
      },
      {
        name: 'Get Credit Notes',
        value: 'getCreditNotes',
        action: 'Get credit notes',
        description: 'Get a list of credit notes, newest first',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many invoices',
        description: 'Get a list of invoices, newest first',
      },
      {
        name: 'Get PDF or HTML',
        value: 'render',
        action: 'Get an invoice as PDF or HTML',
        description: 'Get an invoice or credit note as a file to send or to show',
      },
      {
        name: 'Get Settings',
        value: 'getSettings',
        action: 'Get invoice settings',
        description: 'Get who sells, how invoices are numbered, and how they are collected',
      },
      {
        name: 'Mark Paid',
        value: 'markPaid',
        action: 'Mark an invoice as paid',
        description: 'Record a payment that came by another way, such as a bank transfer',
      },
      {
        name: 'Mark Uncollectible',
        value: 'markUncollectible',
        action: 'Mark an invoice as uncollectible',
        description: 'Write off what is left to pay',
      },
      {
        name: 'Preview Next',
        value: 'preview',
        action: 'Preview the next invoice',
        description: 'Get what the next invoice of an account would be by now. Nothing is written',
      },
      {
        name: 'Refund',
        value: 'refund',
        action: 'Refund an invoice',
        description: 'Give money of a paid invoice back, with a credit note',
      },
      {
        name: 'Remove Item',
        value: 'removeItem',
        action: 'Remove an item from an invoice',
        description: 'Take a line off a draft',
      },
      {
        name: 'Retry Charge',
        value: 'retry',
        action: 'Retry to charge an invoice',
        description:
          'Try to collect an invoice now. It counts as an attempt, and is refused after a decline for good',
      },
      {
        name: 'Save Settings',
        value: 'saveSettings',
        action: 'Save invoice settings',
        description: 'Change who sells, how invoices are numbered, and how they are collected',
      },
      {
        name: 'Update Item',
        value: 'updateItem',
        action: 'Update an item of an invoice',
        description: 'Change a line of a draft',
      },
      {
        name: 'Void',
        value: 'void',
        action: 'Void an invoice',
        description: 'Declare an unpaid invoice void. It keeps its number',
      },
    ],
    default: 'getAll',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What customers owe and have paid. */
export const invoice = { operations, description };
