/** Version of everything under derived/; part of the merged key. Bump it whenever an encoder's output changes. */
export const DERIVED_FORMAT = 1;
