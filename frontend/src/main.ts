import { App } from "./page/app.ts";
import { modelName } from "./page/models.ts";

const app = new App();
app.start();
app.showModel(await modelName());
