// Says of each OpenAPI document of a JSON list on standard input what is wrong with it: an empty list where nothing is.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";

const complaints = [];
for (const document of JSON.parse(readFileSync(0, "utf8"))) {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(document);
  complaints.push(valid ? [] : [errors].flat());
}
console.log(JSON.stringify(complaints));
