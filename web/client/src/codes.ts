/** What follows a Close: a new connection after a growing wait, one after a fresh token, or none. */
export type Rule = 'backoff' | 'refresh' | 'never';

/** No Close: the connection broke off. Never sent, only seen. */
export const ABNORMAL = 1006;
/** The access token has ended. */
export const TOKEN = 4401;
/** The session was revoked, or the account disabled. */
export const FORBIDDEN = 4403;

/** Codes after which a new connection would end the same way. */
const NEVER: readonly number[] = [1000, 1002, 1003, 1007, 1008, 1009, 4400, FORBIDDEN];

/**
 * What follows this code: shared/contracts/close_codes.json, kept equal by a test. A code that is not listed
 * there comes from something between, or from a newer node.
 */
export function ruleOf(code: number): Rule {
  return NEVER.includes(code) ? 'never' : code === TOKEN ? 'refresh' : 'backoff';
}
