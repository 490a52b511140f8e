/**
 * Methods of a service as functions that need no `this`, for the calls of a room:
 * `bound(orders, 'createOrder', 'cancelOrder')`.
 */
export function bound<S extends object, K extends keyof S>(
  service: S,
  ...names: readonly K[]
): Pick<S, K> {
  const entries = names.map((name) => {
    const method: unknown = service[name];
    if (typeof method !== 'function') throw new TypeError(`"${String(name)}" is no method.`);
    return [name, method.bind(service)] as const;
  });
  return Object.fromEntries(entries) as Pick<S, K>;
}
