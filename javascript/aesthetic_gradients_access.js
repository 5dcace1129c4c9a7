// For the keyboard and for screen readers: what gradio 3 and the hosts leave out, in our own parts of the page.

(function() {
    const PARTS = '[id$="_aesthetic_gradients_accordion"], #tab_aesthetic_gradients_tab';
    const LIVE = ["about", "hint", "created", "managed", "encoder_state", "facts"].map(name => `[id$="aesthetic_gradients_${name}"]`);

    // the words that gradio shows beside a component; not those that we add
    function label(element) {
        const words = element.closest(".block")?.querySelector('[data-testid="block-info"], label');
        return words?.firstChild?.textContent.trim() || words?.textContent.trim() || "";
    }

    function name(element, words) {
        if (words && !element.getAttribute("aria-label")) element.setAttribute("aria-label", words);
    }

    function reachable(element) {
        if (element.tabIndex >= 0) return;
        element.tabIndex = 0;
        element.addEventListener("keydown", event => {
            if (event.target !== element || !["Enter", " "].includes(event.key)) return;
            event.preventDefault();
            element.click();
        });
    }

    function improve() {
        for (const part of gradioApp().querySelectorAll(PARTS)) {
            part.querySelectorAll("input[type=number], input[type=range]").forEach(input => name(input, label(input)));
            part.querySelectorAll("button[title]").forEach(button => name(button, button.title));
            part.querySelectorAll(".input-accordion-checkbox").forEach(box => name(box, "Aesthetic gradients"));
            for (const input of part.querySelectorAll("input[type=file]")) {
                const zone = input.parentElement; // gradio 3: a div with a click handler
                reachable(zone);
                zone.setAttribute("role", "button");
                name(zone, label(input));
                name(input, label(input));
            }
            for (const place of part.querySelectorAll(LIVE)) place.setAttribute("aria-live", "polite");
        }
        for (const card of gradioApp().querySelectorAll('[id$="_aesthetics_cards"] .card')) {
            reachable(card);
            name(card, card.dataset.name);
        }
    }

    // The accordion has room for the first sentence of a help text; the whole of it is a tooltip. It is not cut before
    // the host has translated it, by its whole wording.
    function shorten() {
        for (const help of gradioApp().querySelectorAll('[id$="_aesthetic_gradients_accordion"] [data-testid="block-info"] + div')) {
            if (help.title) continue;
            help.title = help.textContent;
            help.textContent = help.textContent.match(/^.*?\.(?= )/)?.[0] ?? help.textContent;
        }
    }

    onUiLoaded(improve);
    onAfterUiUpdate(improve);
    onAfterUiUpdate(shorten);
})();
