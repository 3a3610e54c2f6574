import { App } from "./page/app.ts";

const root = document.getElementById("page");
if (root === null) throw new Error("The page has no #page.");
new App(root).start();
