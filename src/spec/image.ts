/** What a caller asks for. */

/** A secret's value, or where to find it; see `SecretResolver`. */
export type Secret =
  | { readonly type: 'value'; readonly value: string }
  | { readonly type: 'reference'; readonly reference: { readonly name: string; readonly key?: string } };

export interface SecretResolver {
  /** The value. Rejects with LARDER_POLICY_DENIED or LARDER_REQUEST_INVALID; no message ever has the value in it. */
  resolve(secret: Secret): Promise<string>;
}

export interface DockerImage {
  readonly type: 'docker';
  /** A reference by the distribution grammar, with or without a transport. */
  readonly name: string;
  /** False asks the registry again even when the image is in the store. Default true. */
  readonly cached?: boolean;
  /** `os/arch[/variant]`; default: this machine's. */
  readonly platform?: string;
  /** A Docker `config.json` for this image alone. */
  readonly config?: Secret;
  /** False: only `config` logs in, and nobody where there is none. Default true. */
  readonly defaultLogin?: boolean;
}

export interface AppcImage {
  readonly type: 'appc';
  readonly name: string;
  readonly id?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** `os/arch[/variant]`, where the labels name none: an image that says nothing of machines will do. */
  readonly platform?: string;
  readonly cached?: boolean;
}

export type Image = DockerImage | AppcImage;
export type ImageType = Image['type'];
