// What gradio cannot do: the accordion's header says what is on, and the logarithmic slider which epsilon it means.

(function() {
    const part = (tab, name) => gradioApp().querySelector(`#script_${tab}_aesthetic_gradients_${name}`);
    const value = (tab, name) => part(tab, name)?.querySelector("input")?.value ?? "";

    // -4 -> "1e-4", -3.5 -> "3.2e-4": rounded as webui/plan.py does, which takes a positive number for epsilon itself
    function epsilon(exponent) {
        const number = Number(exponent);
        if (exponent === "" || Number.isNaN(number)) return "";
        const stop = Math.abs(100 * number - Math.round(100 * number)) < 1e-9;
        return Number((number < 0 ? 10 ** number : number).toPrecision(number < 0 && stop ? 2 : 4)).toExponential();
    }

    function whatIsOn(tab) {
        if (!part(tab, "accordion-checkbox")?.querySelector("input")?.checked) return "";
        let [chosen, negative] = ["embedding", "negative"].map(name => value(tab, name)).map(x => x === "None" ? "" : x);
        const dropped = part(tab, "pictures")?.querySelectorAll("tr").length;
        if (dropped) chosen = dropped === 1 ? "1 picture" : `${dropped} pictures`;
        if (!chosen && !negative) return ": no embedding is chosen";
        const names = [chosen, negative && `negative ${negative}`].filter(Boolean);
        return `: ${names.join(", ")}, ${value(tab, "steps")} steps, ${epsilon(value(tab, "step_size"))}`;
    }

    // behind the text of `place`, which stays gradio's
    function say(place, text) {
        if (!place) return;
        let said = place.querySelector(":scope > .aesthetic-said");
        if (!said) {
            said = place.appendChild(document.createElement("span"));
            said.className = "aesthetic-said";
        }
        if (said.textContent !== text) said.textContent = text;
    }

    function update() {
        for (const tab of ["txt2img", "img2img"]) {
            const means = epsilon(value(tab, "step_size"));
            say(part(tab, "accordion")?.querySelector(".label-wrap > span"), whatIsOn(tab));
            say(part(tab, "step_size")?.querySelector("[data-testid=block-info]"), means && `: ${means}`);
        }
    }

    // gradio 3 takes what is typed into a dropdown at a key's release only, so not what is dropped or pasted by mouse
    document.addEventListener("input", event => {
        if (event.target.closest?.("[id*=_aesthetic_gradients_]")) {
            event.target.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
        }
    });

    onUiLoaded(() => setInterval(update, 250)); // presets and pasted infotext set values without any event
})();
