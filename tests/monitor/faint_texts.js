// Texts in sight with less contrast than 4.5 to 1: relative luminance and contrast ratio as WCAG 2.1 has them.
() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => (i === 3 ? v / 255 : v));
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
    const behind = (element) => {
        if (element === null) return rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
        if (element.tagName === "DIALOG") return rgba(getComputedStyle(element).backgroundColor).slice(0, 3);
        return over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement));
    };
    const luminance = (colour) => {
        const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const dialog = document.querySelector("dialog[open]");
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
        if (element.closest("svg, noscript, :disabled, option")) continue;
        if (dialog && !dialog.contains(element)) continue;
        const back = behind(element);
        const text = over(rgba(getComputedStyle(element).color), back);
        const [light, dark] = [luminance(text), luminance(back)].sort((a, b) => b - a);
        const contrast = (light + 0.05) / (dark + 0.05);
        const what = `${element.className} ${walker.currentNode.textContent.slice(0, 40)}`;
        if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${what}`);
    }
    return faint;
}
