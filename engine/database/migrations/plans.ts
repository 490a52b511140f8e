/**
 * Settings of functions that look things up by an index, one after the other. A plan that was made
 * while a table was empty would read all of it, and stay in the session until the next ANALYZE; so
 * there is only one kind of plan to choose. (JIT off: these settings look expensive to it.)
 */
export const LOOKUPS = `
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set plan_cache_mode = force_generic_plan set jit = off`;

/** The same without bitmaps, which look as cheap where a table is empty. */
export const INDEX_LOOKUPS = `
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set enable_bitmapscan = off
  set plan_cache_mode = force_generic_plan set jit = off`;
