import { isIP } from 'node:net';

/**
 * Whether a registry's credentials may go to the host of the token server that it names: the same host, one below
 * the other, or two siblings under one registrable domain (`auth.docker.io` for `registry-1.docker.io`). Where a
 * domain sells its subdomains to anybody, siblings are strangers. Ports do not matter, addresses must be equal.
 */
export function sharesCredentials(registryHost: string, realmHost: string): boolean {
  const registry = registryHost.toLowerCase();
  const realm = realmHost.toLowerCase();
  if (registry === realm) return true;
  if (isIP(registry.replace(/^\[|\]$/g, '')) !== 0 || isIP(realm.replace(/^\[|\]$/g, '')) !== 0) return false;
  if (realm.endsWith(`.${registry}`)) return isOwned(registry);
  const parent = parentOf(registry);
  return isOwned(parent) && (realm === parent || parentOf(realm) === parent);
}

function parentOf(host: string): string {
  return host.slice(host.indexOf('.') + 1);
}

/** Second-level names under which a country's registry sells, as in `co.uk`. */
const GENERIC_SECOND = new Set([
  'ac',
  'co',
  'com',
  'edu',
  'gob',
  'gov',
  'gouv',
  'go',
  'ne',
  'net',
  'nom',
  'or',
  'org',
  'mil',
]);
/** Providers that give subdomains to customers and run or host registries (from the public suffix list's private part). */
const SHARED_DOMAINS = [
  'amazonaws.com',
  'amazonaws.com.cn',
  'appspot.com',
  'azurecr.cn',
  'azurecr.io',
  'azurecr.us',
  'azurewebsites.net',
  'cloudapp.azure.com',
  'cloudfront.net',
  'duckdns.org',
  'fly.dev',
  'github.io',
  'gitlab.io',
  'herokuapp.com',
  'jfrog.io',
  'netlify.app',
  'ngrok.io',
  'nip.io',
  'ocir.io',
  'onrender.com',
  'pages.dev',
  'pkg.dev',
  'run.app',
  'sslip.io',
  'vercel.app',
  'windows.net',
  'workers.dev',
];

/** Whether one party can be taken to hold all names below `domain`. */
function isOwned(domain: string): boolean {
  const labels = domain.split('.');
  const [second = '', top = ''] = labels;
  if (labels.length < 2 || (labels.length === 2 && top.length === 2 && GENERIC_SECOND.has(second))) return false;
  return !SHARED_DOMAINS.some((shared) => domain === shared || domain.endsWith(`.${shared}`));
}
