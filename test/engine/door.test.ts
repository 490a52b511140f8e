import * as path from 'node:path';

import ts from 'typescript';

/**
 * The engine's only door is complete: whoever names a request or an answer of a public method, or
 * anything inside one, can import its type. Found by the compiler, so that a new method counts at once.
 */

const ROOT = path.join(__dirname, '../..');
const ENGINE = path.join(ROOT, 'engine') + path.sep;
const DOOR = path.join(ENGINE, 'index.ts');

function openDoor(): { checker: ts.TypeChecker; exported: ts.Symbol[] } {
  const file = path.join(ROOT, 'tsconfig.json');
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(file, (name) => ts.sys.readFile(name)).config,
    ts.sys,
    ROOT,
  );
  const program = ts.createProgram([DOOR], { ...options, noEmit: true, incremental: false });
  const checker = program.getTypeChecker();
  const door = checker.getSymbolAtLocation(program.getSourceFile(DOOR)!)!;
  const exported = checker
    .getExportsOfModule(door)
    .map((symbol) =>
      symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
    );
  return { checker, exported };
}

const NAMED =
  ts.SymbolFlags.Interface | ts.SymbolFlags.Class | ts.SymbolFlags.TypeAlias | ts.SymbolFlags.Enum;

const isOurs = (symbol: ts.Symbol): boolean =>
  (symbol.declarations ?? []).some((declaration) =>
    declaration.getSourceFile().fileName.startsWith(ENGINE),
  );

const isHidden = (symbol: ts.Symbol): boolean =>
  (symbol.declarations ?? []).some(
    (declaration) =>
      ts.getCombinedModifierFlags(declaration) &
      (ts.ModifierFlags.Private | ts.ModifierFlags.Protected),
  );

/** All named types of ours that can be reached from what is exported, and from where first. */
function reachable(
  checker: ts.TypeChecker,
  exported: readonly ts.Symbol[],
): Map<ts.Symbol, string> {
  const found = new Map<ts.Symbol, string>();
  const seen = new Set<ts.Type>();

  const visit = (type: ts.Type, from: string): void => {
    const names = [type.aliasSymbol, type.symbol as ts.Symbol | undefined];
    for (const symbol of names) {
      if (symbol === undefined || !(symbol.flags & NAMED) || !isOurs(symbol)) continue;
      if (!found.has(symbol)) found.set(symbol, from);
    }
    for (const argument of type.aliasTypeArguments ?? []) visit(argument, from);
    if (seen.has(type)) return;
    seen.add(type);
    if (type.isUnionOrIntersection()) for (const part of type.types) visit(part, from);
    for (const argument of checker.getTypeArguments(type as ts.TypeReference))
      visit(argument, from);
    // What others declare is theirs to export.
    if (type.symbol !== undefined && !isOurs(type.symbol)) return;
    for (const signature of [...type.getCallSignatures(), ...type.getConstructSignatures()]) {
      visitSignature(signature, from);
    }
    for (const property of type.getProperties()) {
      if (!isHidden(property)) visit(checker.getTypeOfSymbol(property), `${from}.${property.name}`);
    }
    for (const { type: values } of checker.getIndexInfosOfType(type)) visit(values, from);
  };

  const visitSignature = (signature: ts.Signature, from: string): void => {
    for (const parameter of signature.getParameters()) {
      visit(checker.getTypeOfSymbol(parameter), `${from}(${parameter.name})`);
    }
    visit(signature.getReturnType(), `${from}()`);
  };

  for (const symbol of exported) {
    const { name } = symbol;
    if (symbol.flags & ts.SymbolFlags.Value) visit(checker.getTypeOfSymbol(symbol), name);
    if (symbol.flags & NAMED) visit(checker.getDeclaredTypeOfSymbol(symbol), name);
  }
  return found;
}

test('every type that a public method names can be imported', () => {
  const { checker, exported } = openDoor();
  const found = reachable(checker, exported);
  const missing = [...found]
    .filter(([symbol]) => !exported.includes(symbol))
    .map(([symbol, from]) => `${symbol.name} of ${from}`);
  expect(missing).toEqual([]);
  // The walk did walk.
  const names = [...found.keys()].map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(['Invoicing', 'CreditNote', 'GatewayCharge']));
});
