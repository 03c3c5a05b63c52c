// Signs requests as senders do, each with its provider's own library: orders come in as JSON, the headers of each go out.
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { text } from "node:stream/consumers";

import { sign as github } from "@octokit/webhooks-methods";
import "@shopify/shopify-api/adapters/node";
import { createSHA256HMAC } from "@shopify/shopify-api/runtime";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";
import twilio from "twilio/lib/webhooks/webhooks.js";

const form = "application/x-www-form-urlencoded";
const pair = generateKeyPairSync("ed25519");

const standard = ({ secret, id, time, body }) => ({
  "webhook-id": id,
  "webhook-timestamp": `${time}`,
  "webhook-signature": new StandardWebhook(secret).sign(id, new Date(time * 1000), body),
});

const signers = {
  GitHub: async ({ secret, id, body }) => ({
    "x-github-delivery": id,
    "x-hub-signature-256": await github(secret, body),
  }),
  // GitLab signs with this library's scheme, and its documentation verifies with the library.
  GitLab: ({ id, ...order }) => ({ "idempotency-key": id, ...standard({ id, ...order }) }),
  Shopify: async ({ secret, id, body }) => ({
    "x-shopify-webhook-id": id,
    "x-shopify-hmac-sha256": await createSHA256HMAC(secret, body),
  }),
  StandardWebhooks: standard,
  // A scheme of nobody's, as the order describes it: OpenSSL signs. In a list there is more, of no secret that is known.
  Hmac: ({ secret, scheme, padded, id, time, body }) => {
    const headers = { "x-event-id": id, "x-sent-at": `${time}` };
    const places = /\{(body|timestamp|header:([^}]+))\}/g;
    const value = (_, place, name) => ({ body, timestamp: `${time}` })[place] ?? headers[name.toLowerCase()];
    const content = scheme.signedContent.replace(places, value);
    const signature = (key) => {
      const mac = createHmac(scheme.algorithm.toLowerCase(), key).update(content);
      const text = mac.digest(scheme.encoding.toLowerCase());
      return scheme.prefix + (padded ? text.padEnd(Math.ceil(text.length / 4) * 4, "=") : text);
    };
    const others = [signature("not this one"), "of=another,scheme"];
    const list = scheme.separator ? others.toSpliced(id.length % 3, 0, signature(secret)) : [signature(secret)];
    return { ...headers, [scheme.header]: list.join(scheme.separator) };
  },
  // No library signs asymmetrically; OpenSSL does. The public key goes out as a secret.
  Asymmetric: ({ id, time, body }) => {
    const signature = sign(null, Buffer.from(`${id}.${time}.${body}`), pair.privateKey).toString("base64");
    const raw = Buffer.from(pair.publicKey.export({ format: "jwk" }).x, "base64url").toString("base64");
    return {
      secret: `whpk_${raw}`,
      "webhook-id": id,
      "webhook-timestamp": `${time}`,
      "webhook-signature": `v1a,${signature}`,
    };
  },
  Stripe: ({ secret, time, body }) => ({
    "stripe-signature": Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: time }),
  }),
  Svix: ({ secret, id, time, body }) => ({
    "svix-id": id,
    "svix-timestamp": `${time}`,
    "svix-signature": new SvixWebhook(secret).sign(id, new Date(time * 1000), body),
  }),
  TwilioForm: ({ secret, id, url, body }) => {
    const fields = {};
    for (const [name, value] of new URLSearchParams(body)) {
      fields[name] = name in fields ? [fields[name], value].flat() : value;
    }
    return {
      "content-type": form,
      "i-twilio-idempotency-token": id,
      "x-twilio-signature": twilio.getExpectedTwilioSignature(secret, url, fields),
    };
  },
  TwilioJson: ({ secret, id, url, body }) => {
    const query = `bodySHA256=${twilio.getExpectedBodyHash(body)}`;
    return {
      query,
      "content-type": "application/json",
      "i-twilio-idempotency-token": id,
      "x-twilio-signature": twilio.getExpectedTwilioSignature(secret, `${url}?${query}`, {}),
    };
  },
};

const orders = JSON.parse(await text(process.stdin));
console.log(JSON.stringify(await Promise.all(orders.map((order) => signers[order.signer](order)))));
