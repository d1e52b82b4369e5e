// Resolves what a k6 script imports to the modules here, and lets Node take it for a module.

const MODULES = { k6: './k6.mjs', 'k6/http': './http.mjs', 'k6/metrics': './metrics.mjs' };

export async function resolve(specifier, context, next) {
  if (specifier in MODULES) {
    return { url: new URL(MODULES[specifier], import.meta.url).href, shortCircuit: true };
  }
  const found = await next(specifier, context);
  return { ...found, format: found.url.startsWith('file:') ? 'module' : found.format };
}
