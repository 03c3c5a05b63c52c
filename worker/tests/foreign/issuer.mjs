// A real authorization server: gives tokens that an API can read, for client credentials.
// node issuer.mjs PORT LIFETIME-IN-SECONDS
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, lifetime] = process.argv.slice(2).map(Number);
const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const key = { ...(await exportJWK(privateKey)), kid: "k", alg: "ES256", use: "sig" };
const ledger = {
  scope: "accounts.write ledger.read ledger.write",
  audience: "ledger",
  accessTokenFormat: "jwt",
  accessTokenTTL: lifetime,
  jwt: { sign: { alg: "ES256" } },
};
const client = (client_id, token_endpoint_auth_method) => ({
  client_id,
  client_secret: "s3cr:et/+&=% x",
  token_endpoint_auth_method,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: "ES256",
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [key] },
  clients: [client("by:basic", "client_secret_basic"), client("by-post", "client_secret_post")],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "https://other.example",
      getResourceServerInfo: (_, resource) => ({ ...ledger, audience: new URL(resource).host }),
      useGrantedResource: () => true,
    },
  },
});
provider.listen(port, "127.0.0.1", () => console.log("listening"));
