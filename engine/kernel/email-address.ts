/**
 * Which texts are e-mail addresses. An address is taken as it stands between people and mail systems:
 * without a name, brackets, quotes, comments or `mailto:`, by which one address would be many.
 */

/** Nobody sees these: zero-width, soft hyphens, joiners, direction marks, variation selectors. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}]+/gu;

/** Letters and digits of all scripts, and what an address may hold unquoted (RFC 5322, RFC 6531). */
const PLAIN_ADDRESS =
  /^[\p{L}\p{M}\p{N}!#$%&'*+\-/=?^_`{|}~.]{1,64}@[\p{L}\p{M}\p{N}_-]{1,63}(\.[\p{L}\p{M}\p{N}_-]{1,63}){0,10}\.?$/u;

/** The text that people see. */
export const visible = (text: string): string => text.replace(INVISIBLE, '');

/** Whether it is one address and nothing else; what nobody sees is looked past. */
export const isPlainAddress = (text: string): boolean => PLAIN_ADDRESS.test(visible(text));

export const PLAIN_ADDRESS_ONLY = 'must be an e-mail address alone, such as ann@example.com';
