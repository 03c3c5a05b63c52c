// A real issuer of tokens (OpenID Connect): publishes its keys and gives tokens for client credentials.
// node issuer.mjs PORT KEY-ID ALGORITHM
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, kid, alg] = process.argv.slice(2);
const { privateKey } = await generateKeyPair(alg, { extractable: true });
const key = { ...(await exportJWK(privateKey)), kid, alg, use: "sig" };
const hooks = { scope: "", audience: "hooks", accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg } } };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [key] },
  clients: [
    {
      client_id: "partner",
      client_secret: "secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: alg,
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "https://hooks.example",
      getResourceServerInfo: () => hooks,
      useGrantedResource: () => true,
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
