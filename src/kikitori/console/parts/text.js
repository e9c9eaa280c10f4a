/** A whole text to read and to copy. */

export default viewed((root) => new Text(root));

class Text {
  constructor(root) {
    this.root = element("div", "view");
    this.copy = copier("tool", () => this.text.textContent);
    const bar = element("div", "bar");
    bar.append(this.copy);
    this.text = element("p", "whole box");
    this.root.append(bar, this.text);
    root.append(this.root);
  }

  show(data) {
    this.copy.say(data.words);
    this.copy.disabled = !data.text;
    if (this.text.textContent !== data.text) this.text.textContent = data.text; // what is selected stays
  }

  leave() {
    this.root.remove();
  }
}
