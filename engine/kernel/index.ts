export * from './bound';
export * from './calendar';
export * from './clock';
export * from './countries';
export * from './errors';
export * from './ids';
export * from './money';
export * from './validation';
