import { rootCertificates } from 'node:tls';
import { isFile } from './files.js';
import { readText } from './toml-file.js';

/** Where distributions keep the authorities of the machine, in the order in which Go looks (crypto/x509, root_linux.go). */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const UNKNOWN_ISSUER = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);

let known: { readonly path: string; readonly pem: string } | undefined;

/**
 * What this machine trusts and Node does not bring, as PEM; empty where that is nothing. To read it for each connection
 * would cost 50 ms for each thread, so it is looked at only after {@link isUnknownIssuer}. Throws LARDER_CONFIG_INVALID.
 */
export function systemAuthorities(env: NodeJS.ProcessEnv = process.env): string {
  const path = env['SSL_CERT_FILE'] || BUNDLES.find(isFile);
  if (path === undefined || !isFile(path)) return '';
  if (known?.path !== path) known = { path, pem: unknownToNode(readText(path, 'read certificates')) };
  return known.pem;
}

/** Whether TLS failed for want of an authority, and for nothing else. */
export function isUnknownIssuer(error: unknown): boolean {
  return error instanceof Error && UNKNOWN_ISSUER.has((error as NodeJS.ErrnoException).code ?? '');
}

function unknownToNode(bundle: string): string {
  const brought = new Set(rootCertificates.map(withoutSpace));
  const certificates = bundle.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return certificates.filter((pem) => !brought.has(withoutSpace(pem))).join('\n');
}

function withoutSpace(pem: string): string {
  return pem.replace(/\s/g, '');
}
