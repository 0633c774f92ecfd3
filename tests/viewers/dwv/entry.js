// Shows one image series and one SEG in dwv, as its documentation says; nothing is drawn by us.
//   ?list=URL   of {"image": [addresses of DICOM files], "seg": [address]}
import {App, AppOptions, Index, ToolConfig, ViewConfig} from 'dwv';

const query = new URLSearchParams(location.search);
window.errors = [];
const say = (error) => window.errors.push(String((error && error.message) || error));

const app = new App();
window.app = app;
window.Index = Index;
const options = new AppOptions({'*': [new ViewConfig('layerGroup0')]});
options.tools = {ZoomAndPan: new ToolConfig()};
app.init(options);
app.addEventListener('error', (event) => say(event.error));
app.addEventListener('renderend', () => { window.rendered = (window.rendered || 0) + 1; });

function load(addresses) {
  return new Promise((resolve) => {
    app.addEventListener('loadend', (event) => resolve(event.dataid), {once: true});
    app.loadURLs(addresses);
  });
}

(async () => {
  const series = await (await fetch(query.get('list'))).json();
  window.imageId = await load(series.image);
  window.segId = series.seg ? await load(series.seg) : null;
  app.setTool('ZoomAndPan');
  window.ready = true;
})().catch(say);
