/** The dashboard's sources are TypeScript, as they come. */
export default { transpilePackages: ["otel-bridge-dashboard"] };
