const { src, dest } = require('gulp');

/**
 * `gulp build:icons`: copies what tsc leaves behind, the icons and the codex files
 * (n8n's node panel finds nodes by the codex), to the same places under dist/.
 */
function buildIcons() {
  return src(['nodes/**/*.{svg,node.json}', 'credentials/**/*.svg'], {
    base: '.',
    encoding: false,
  }).pipe(dest('dist'));
}

exports['build:icons'] = buildIcons;
