/** The subprotocol entry that carries a token: browsers can set no header on a WebSocket. */
export function bearer(token: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const base64url = btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return `keywire.bearer.${base64url}`;
}

/** How long a token has left, in milliseconds; `undefined` if it does not say. */
export function lifetime(token: string, today: number): number | undefined {
  try {
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const { exp } = JSON.parse(atob(payload)) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 - today : undefined;
  } catch {
    // No JWT: the node tells when it has ended.
    return undefined;
  }
}
