/** The numbers that a long form was told on its command line. One that is none ends it with 2: it would run without an end. */
export function wholeNumbers<Name extends string>(
  program: string,
  values: { readonly [name in Name]: string },
): { readonly [name in Name]: number } {
  const numbers = Object.entries<string>(values).map(([name, text]) => {
    if (!/^[0-9]{1,15}$/.test(text)) {
      console.error(`${program}: --${name} takes a whole number, not ${JSON.stringify(text)}`);
      process.exit(2);
    }
    return [name, Number(text)];
  });
  return Object.fromEntries(numbers);
}
