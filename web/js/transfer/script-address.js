// Addresses of our own scripts, in the form that the page's Content-Security-Policy accepts.

const policy = globalThis.trustedTypes?.createPolicy("datachan-scripts", { createScriptURL: (address) => address });

/** Return what a Worker or a service worker may be started from. */
export function scriptAddress(url) {
  return policy === undefined ? url : policy.createScriptURL(url.href);
}
