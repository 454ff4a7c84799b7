"""A page on which a trained tagger is tried: drop chips or a small scene, see tags, thresholds, rule and Grad-CAM.

Made with gradio (extra `app`). It listens to this machine alone unless told otherwise, and asks no other server.
"""
import errno
import os
import socket
import tempfile
from dataclasses import asdict
from pathlib import Path
from planet.cli import UserError, near_names, say
from planet.explain import UPLOADS, Limits, attention_html, chip_html, scene_html, tag_picture
from planet.model_card import rule_words
from planet.page import text

os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False') # it asks a server of its makers otherwise
os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
import gradio as gr  # after those two, which it reads when it is imported

__all__ = ['upload_limits', 'build', 'serve']

SYSTEM = ['system-ui', 'sans-serif'] # fonts that a device has: gradio's own come from a server
LOOPBACK = 'localhost', '127.0.0.1', '::1'

def upload_limits(given:str, # such as megabytes=8,megapixels=4; '': the usual ones
                 ) -> Limits:
    "Limits of an upload by name; `UserError` for one that there is not, or that is no number above 0."
    known, found = asdict(UPLOADS), {}
    for part in filter(None, given.split(',')):
        name, _, value = part.partition('=')
        if name not in known: raise UserError(f"{name} is no limit: {', '.join(f'{k}={v:g}' for k, v in known.items())}"
                                              f'{near_names(name, known)}', option='upload_limits')
        try: found[name] = type(known[name])(value)
        except ValueError: found[name] = 0
        if not 0 < found[name] < float('inf'):
            raise UserError(f'{part}: a number above 0 is wanted, such as {name}={known[name]:g}',
                            option='upload_limits')
    return Limits(**known | found)

def _about(tagger):
    facts, head = tagger.facts, tagger.facts['headline']
    score = (f"{head['label']}: **{head['value']:.3f}**" if head.get('value') is not None else 'It was not scored') + (
        f" (95 % interval {head['interval'][0]:.3f} to {head['interval'][1]:.3f})" if head.get('interval') else '')
    bands = ', '.join(tagger.bands)
    lines = ['## Tags of satellite chips', f"{score}, {facts['trained_on'].get('valid', '?')} validation chips. "
             f"{len(tagger.vocab)} tags, decided by {rule_words(facts)}. Bands: {bands}."]
    return '\n\n'.join([*lines, *(f'**Mind:** {w}' for w in facts['warnings'])])

def build(tagger, # from `planet.inference.Tagger.load`
          limits:Limits=UPLOADS, # of an upload
         ): # a gradio `Blocks`
    "Build the page of a tagger."
    def tag(paths):
        items, refused = [], []
        for path in list(paths or [])[:limits.files]:
            try: items.append(tag_picture(tagger, path, limits))
            except UserError as e: refused.append(str(e))
        if len(paths or []) > limits.files: refused.append(f'Only the first {limits.files} files were taken.')
        html = ''.join(f'<p class="refused" role="alert">{text(line)}</p>' for line in refused)
        html += ''.join((scene_html if o.is_scene else chip_html)(tagger, o) for o in items)
        names = [(f'{i+1}. {o.name}', i) for i, o in enumerate(items)]
        likeliest = tagger.vocab[int(items[0].probs.mean(0).argmax())] if items else None
        return (html or '<p>Nothing was sent.</p>', items, gr.Column(visible=bool(items)),
                gr.Dropdown(choices=names, value=0 if items else None), gr.Dropdown(value=likeliest),
                attention_html(tagger, items[0], likeliest) if items else '')

    def look(items, number, name):
        return attention_html(tagger, items[number], name) if items and number is not None and name else ''

    with gr.Blocks(title='Tags of satellite chips', analytics_enabled=False, delete_cache=(600, 3600)) as page:
        items = gr.State([], time_to_live=3600)
        gr.Markdown(_about(tagger))
        files = gr.File(label='Chips or a small scene', file_count='multiple', type='filepath', height=140)
        gr.Markdown(f'At most {limits.files} files of {limits.megabytes:g} MB and {limits.megapixels:g} million '
                    'pixels. They are removed after an hour.')
        button = gr.Button('Tag', variant='primary')
        results = gr.HTML(elem_classes='results', padding=False)
        with gr.Column(visible=False) as where:
            gr.Markdown('### Where the network looked')
            with gr.Row():
                number = gr.Dropdown(label='picture', choices=[], interactive=True)
                name = gr.Dropdown(label='tag', choices=list(tagger.vocab), interactive=True)
            attention = gr.HTML(elem_classes='results', padding=False)
        outputs = [results, items, where, number, name, attention]
        for event in (button.click, files.upload):
            event(tag, files, outputs, api_name=False, concurrency_limit=1, concurrency_id='network')
        for event in (number.input, name.input):
            event(look, [items, number, name], attention, api_name=False, concurrency_limit=1, concurrency_id='network')
    return page

def _check_address(host, port):
    "Raise a `UserError` where no page can be served at an address: gradio calls any such port taken, or fails."
    if not 0 < port < 65536: raise UserError(f'{port} is outside 1 to 65,535', option='port')
    try:
        kind, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(at)
    except (OSError, UnicodeError) as e:
        why = ' '.join(str(e).split())[:100]
        if getattr(e, 'errno', None) in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
            raise UserError(f'{port} is taken or may not be used ({why}): name another', option='port') from None
        raise UserError(f'{host} is no address of this machine ({why}): leave it out, or give 0.0.0.0 to let others in',
                        option='host') from None

def serve(tagger, # from `planet.inference.Tagger.load`
          host:str='127.0.0.1', # the address it listens at; 0.0.0.0 lets others in
          port:int=7860,
          limits:Limits=UPLOADS, # of an upload
          block:bool=True, # until Ctrl-C; else returns the running page, whose `close()` ends it
         ): # exit status, or the page
    "Serve a tagger's page on this machine; `UserError` where the port is taken."
    _check_address(host, port)
    own = tempfile.TemporaryDirectory(prefix='planet-app-')
    os.environ['GRADIO_TEMP_DIR'] = own.name # uploads go with the page
    page = build(tagger, limits)
    theme = gr.themes.Base(font=SYSTEM, font_mono=['monospace'], primary_hue='green')
    try:
        page.launch(server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
                    max_file_size=int(limits.megabytes*1e6), footer_links=[], show_error=False, ssr_mode=False,
                    enable_monitoring=False, state_session_capacity=50, theme=theme,
                    css=Path(__file__).with_suffix('.css').read_text(encoding='utf-8'))
    except OSError as e:
        own.cleanup()
        why = f'{port} is taken or may not be used ({e}): name another'
        raise UserError(' '.join(why.split())[:200], option='port') from None
    page.uploads = own # removed with the page
    say(f"the page is at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it)")
    if host not in LOOPBACK: say(f'WARNING: whoever reaches {host} on this network can use it: it has no password')
    if not block: return page
    try: page.block_thread()
    except KeyboardInterrupt: pass
    finally:
        page.close(verbose=False)
        own.cleanup()
    return 0
