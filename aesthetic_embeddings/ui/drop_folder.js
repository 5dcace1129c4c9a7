// Gradio's drop zone takes files alone; of a dropped folder it would send the folder's name.
// Arguments: the id of the drop zone, and the most files to take.
(zone, limit) => {
  const add = async (entry, files) => {
    if (files.items.length > limit || entry.name.startsWith('.')) return;
    if (entry.isFile) return files.items.add(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    const reader = entry.createReader();
    for (let batch; (batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;)
      for (const each of batch) await add(each, files);
  };
  document.addEventListener('drop', async event => {
    const input = event.target.closest(`#${zone}`)?.querySelector('input[type=file]');
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(Boolean);
    if (!input || !entries.some(entry => entry.isDirectory)) return;
    event.preventDefault();
    event.stopPropagation();
    const files = new DataTransfer();
    for (const entry of entries) await add(entry, files);
    input.files = files.files;
    input.dispatchEvent(new Event('change'));
  }, true);
}
