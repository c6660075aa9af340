// Error messages next to the fields that they are about.

import { element, state } from "./state.js";

const ITEM_FIELDS = { via: "via_points", zone: "zones" };

/** Errors that are found without the server, by field. */
export const inputErrors = new Map();

/** Show an error of an input, without asking the server. Returns null. */
export function refuseInput(field, message) {
  inputErrors.set(field, message);
  showErrors();
  return null;
}

/** Remove the errors of some panels. */
export function clearErrors(panels) {
  for (const panel of panels) panel.error = null;
  showErrors();
}

/** Show each error next to its field. */
export function showErrors() {
  const errors = new Map();
  for (const panel of [...state.panels].reverse()) {
    if (panel.error) errors.set(panel.error.field, panel.error.message);
  }
  for (const [field, message] of inputErrors) errors.set(field, message);
  for (const note of document.querySelectorAll(".error")) {
    const field = note.id.slice("error-".length);
    note.hidden = !errors.has(field);
    note.textContent = errors.get(field) ?? "";
    const input = element(field) ?? element(`set-${field}`);
    input?.classList.toggle("wrong", errors.has(field));
  }
  for (const panel of state.panels) {
    for (const [name, item] of panel.items) {
      const field = ITEM_FIELDS[name.replace(/\d+/, "")] ?? name;
      item.classList.toggle("wrong", errors.has(field));
    }
  }
}
