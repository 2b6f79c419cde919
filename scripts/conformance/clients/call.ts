// Lists the models and asks one for an answer, through the client that openapi-generator wrote.

import { CatalogueApi, Configuration, InferenceApi, ModelList, UserMessageRoleEnum } from "./index";

declare const process: { env: Record<string, string>; exitCode: number };

async function main() {
  const configuration = new Configuration({ basePath: process.env.STEELYARD_URL, accessToken: process.env.STEELYARD_API_KEY });
  const model = process.env.STEELYARD_MODEL;
  const listed = (await new CatalogueApi(configuration).listModels()).data as ModelList;
  if (!listed.data.some((one) => one.id === model)) throw new Error(JSON.stringify(listed));
  const messages = [{ role: UserMessageRoleEnum.User, content: "Hello!" }];
  const answer = (await new InferenceApi(configuration).createChatCompletion({ model, messages, max_tokens: 16 })).data;
  if (answer.model !== model || !answer.choices[0].message.content || answer.usage.completion_tokens < 1) {
    throw new Error(JSON.stringify(answer));
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
