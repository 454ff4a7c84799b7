"Every kind of archive, and every way one can be damaged or meant to harm."
import io
import os
import random
import re
import stat
import subprocess
import tarfile
import zipfile
import py7zr
import pytest
from planet.cli import UserError
from planet.download import archives, progress as meter
from planet.download.archives import BadArchive, UnsupportedArchive, bare_name, kind_of, unpack, unpack_file

FILES = {f'train-jpg/train_{i}.jpg': random.Random(i).randbytes(3000 + i) for i in range(12)}
FILES |= {'train-jpg/deep/er/empty.txt': b''}
INSIDE = {name.removeprefix('train-jpg/'): data for name, data in FILES.items()}

def tar_bytes(files=FILES, mode='w', members=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for m in members: tar.addfile(m)
    return out.getvalue()

def zip_bytes(files=FILES):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items(): z.writestr(name, data)
    return out.getvalue()

def seven_bytes(files=FILES):
    out = io.BytesIO()
    # no 64 MB of memory for a few kB
    with py7zr.SevenZipFile(out, 'w', filters=[dict(id=py7zr.FILTER_LZMA2, preset=0)]) as z:
        for name, data in files.items(): z.writestr(data, name)
    return out.getvalue()

MAKE = {'.zip': zip_bytes, '.7z': seven_bytes, '.tar': tar_bytes, '.tar.gz': lambda f=FILES: tar_bytes(f, 'w:gz'),
        '.tgz': lambda f=FILES: tar_bytes(f, 'w:gz'),
        '.tar.bz2': lambda f=FILES: tar_bytes(f, 'w:bz2'), '.tar.xz': lambda f=FILES: tar_bytes(f, 'w:xz'),
        '.tar.7z': lambda f=FILES: seven_bytes({'train-jpg.tar': tar_bytes(f)})}

def write(tmp_path, suffix='.zip', data=None):
    path = tmp_path/f'train-jpg{suffix}'
    path.write_bytes(MAKE[suffix]() if data is None else data)
    return path

def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
def left(tmp_path): return sorted(p.name for p in tmp_path.iterdir())

def fails(path, folder, *said, error=BadArchive, **kwargs):
    before = left(folder.parent)
    with pytest.raises(error) as e: unpack(path, folder, **kwargs)
    for words in said: assert words in str(e.value), str(e.value)
    assert '\n' not in str(e.value) and str(path) in str(e.value)
    assert left(folder.parent) == before, 'something was left half-written'

@pytest.mark.parametrize('suffix', MAKE)
def test_every_kind(tmp_path, suffix):
    path = write(tmp_path, suffix)
    assert unpack(path, tmp_path/'train-jpg') == tmp_path/'train-jpg'
    assert contents(tmp_path/'train-jpg') == INSIDE
    assert left(tmp_path) == ['train-jpg', path.name] # and nothing of the tar that was inside
    assert bare_name(path.name) == 'train-jpg' and kind_of(path)

@pytest.mark.parametrize('suffix', MAKE)
def test_files_without_a_folder_around_them(tmp_path, suffix):
    unpack(write(tmp_path, suffix, MAKE[suffix](INSIDE)), tmp_path/'out')
    assert contents(tmp_path/'out') == INSIDE

def test_the_name_of_an_archive_does_not_matter(tmp_path):
    unpack(write(tmp_path, '.zip', MAKE['.tar.7z']()), tmp_path/'out')
    assert contents(tmp_path/'out') == INSIDE

@pytest.mark.parametrize('data', [zip_bytes({'train-jpg.tar.7z': MAKE['.tar.7z']()}),
                                  seven_bytes({'train-jpg': tar_bytes()}), zip_bytes({'x.zip': zip_bytes()})],
                         ids=['zip of 7z', '7z of tar', 'zip of zip'])
def test_an_archive_in_an_archive(tmp_path, data):
    assert contents(unpack(write(tmp_path, '.zip', data), tmp_path/'out')) == INSIDE
    assert left(tmp_path) == ['out', 'train-jpg.zip']

def test_damage_in_an_archive_in_an_archive(tmp_path):
    fails(write(tmp_path, '.zip', zip_bytes({'a.tar': tar_bytes()[:9000]})), tmp_path/'out', 'damaged')

def test_what_a_mac_adds_is_left_out(tmp_path):
    unpack(write(tmp_path, '.zip', zip_bytes(FILES | {'__MACOSX/train-jpg/._train_0.jpg': b'x'})), tmp_path/'out')
    assert contents(tmp_path/'out') == INSIDE

def test_a_tar_of_the_folder_itself(tmp_path):
    (tmp_path/'in').mkdir()
    (tmp_path/'in'/'a.jpg').write_bytes(b'a')
    subprocess.run(['tar', 'cf', tmp_path/'x.tar', '-C', tmp_path/'in', '.'], check=True)
    assert contents(unpack(tmp_path/'x.tar', tmp_path/'out')) == {'a.jpg': b'a'}

def test_a_file_under_two_names(tmp_path):
    second = tarfile.TarInfo('train-jpg/again.jpg')
    second.type, second.linkname = tarfile.LNKTYPE, 'train-jpg/train_0.jpg'
    unpack(write(tmp_path, '.tar', tar_bytes(members=[second])), tmp_path/'out')
    assert contents(tmp_path/'out') == INSIDE | {'again.jpg': INSIDE['train_0.jpg']}

def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path/'.out.unpacking'/'train-jpg').mkdir(parents=True)
    (tmp_path/'.out.unpacking'/'train-jpg'/'old.jpg').write_bytes(b'')
    assert contents(unpack(write(tmp_path), tmp_path/'out')) == INSIDE

def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path/'out').mkdir()
    assert contents(unpack(write(tmp_path), tmp_path/'out')) == INSIDE

# ---- one file of a zip

@pytest.mark.parametrize('name', ['train_v2.csv', 'train_v2.csv/train_v2.csv', 'other.csv'])
def test_a_table(tmp_path, name):
    path = write(tmp_path, '.zip', zip_bytes({name: b'image_name,tags\n', '__MACOSX/._train_v2.csv': b'x'}))
    unpack_file(path, tmp_path/'train_v2.csv')
    assert (tmp_path/'train_v2.csv').read_bytes() == b'image_name,tags\n'
    assert left(tmp_path) == ['train-jpg.zip', 'train_v2.csv']

def test_a_table_that_is_no_zip(tmp_path):
    (tmp_path/'fetched').write_bytes(b'image_name,tags\n')
    assert unpack_file(tmp_path/'fetched', tmp_path/'train_v2.csv').read_bytes() == b'image_name,tags\n'

def test_a_zip_without_the_table(tmp_path):
    path = write(tmp_path)
    with pytest.raises(BadArchive, match='holds no train_v2.csv'): unpack_file(path, tmp_path/'train_v2.csv')
    assert left(tmp_path) == ['train-jpg.zip']

def test_a_table_is_checked_before_it_gets_its_name(tmp_path):
    (tmp_path/'fetched').write_bytes(b'<html>')
    (tmp_path/'train_v2.csv').write_bytes(b'old')
    with pytest.raises(BadArchive, match='fetched is truncated or damaged .*a page'):
        unpack_file(tmp_path/'fetched', tmp_path/'train_v2.csv', check=lambda path: 'a page')
    assert (tmp_path/'train_v2.csv').read_bytes() == b'old' and left(tmp_path) == ['fetched', 'train_v2.csv']

# ---- damage

@pytest.mark.parametrize('suffix', MAKE)
@pytest.mark.parametrize('keep', [.02, .5, .8])
def test_cut_short(tmp_path, suffix, keep):
    whole = MAKE[suffix]()
    fails(write(tmp_path, suffix, whole[:int(keep*len(whole))]), tmp_path/'out', 'damaged', 'fetch it again')

def test_a_tar_cut_between_two_files(tmp_path):
    whole = tar_bytes(dict(list(FILES.items())[:4]))
    names = tarfile.open(fileobj=io.BytesIO(whole)).getmembers()
    fails(write(tmp_path, '.tar', whole[:names[2].offset]), tmp_path/'out', 'its end is not where it should be')

def test_a_tar_with_a_damaged_header(tmp_path):
    "tarfile takes such a header for the end, and would give half the files for all of them."
    whole = bytearray(tar_bytes())
    whole[tarfile.open(fileobj=io.BytesIO(whole)).getmembers()[5].offset + 3] ^= 255
    fails(write(tmp_path, '.tar', bytes(whole)), tmp_path/'out', 'damaged')

@pytest.mark.parametrize('suffix', ['.zip', '.7z', '.tar.gz', '.tar.bz2', '.tar.xz', '.tar.7z'])
def test_any_byte_wrong(tmp_path, suffix):
    "Either one line, or every file as it was: never files that differ, never a traceback."
    whole, rng = MAKE[suffix](), random.Random(0)
    for n in range(12):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(spoilt))] ^= rng.randrange(1, 256)
        path = write(tmp_path, suffix, bytes(spoilt))
        try: unpack(path, tmp_path/f'out{n}')
        except BadArchive: assert left(tmp_path) == sorted(p for p in left(tmp_path) if 'unpacking' not in p)
        else: assert set(contents(tmp_path/f'out{n}').values()) == set(INSIDE.values())
        assert not list(tmp_path.glob('.*'))

@pytest.mark.parametrize('data,why', [(b'', 'empty'), (b'<!DOCTYPE html><html>', 'a web page'),
                                      (b'hello', 'no zip, tar or 7z'), (zip_bytes({}), 'it is empty')])
def test_no_archive_at_all(tmp_path, data, why): fails(write(tmp_path, '.zip', data), tmp_path/'out', why)

def test_the_next_step_is_the_callers(tmp_path):
    fails(write(tmp_path, '.zip', b'x'), tmp_path/'out', 'ask Ann', mend='ask Ann')

# ---- harm

NAMES = ['../out.txt', '/etc/out.txt', 'a/../../out.txt', 'C:\\out.txt', 'c:/out.txt', '..\\out.txt',
         '\\\\server\\out.txt', '\\out.txt']

@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('suffix', ['.zip', '.tar', '.tar.gz', '.7z', '.tar.7z'])
def test_names_that_lead_out(tmp_path, suffix, name, monkeypatch):
    # it would not write such a name
    if suffix == '.7z': monkeypatch.setattr('py7zr.py7zr.check_archive_path', lambda name: True)
    (tmp_path/'deep').mkdir()
    data = MAKE[suffix]({'a.txt': b'', name: b'harm'})
    path = write(tmp_path, suffix, data)
    fails(path, tmp_path/'deep'/'out', 'its entry', 'leads out of the folder', 'nothing of it was unpacked')
    assert not list(tmp_path.rglob('out.txt')) and left(tmp_path) == sorted(['deep', path.name])

def link(kind, target, name='train-jpg/link'):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info

@pytest.mark.parametrize('member,why', [(link(tarfile.SYMTYPE, '/etc/passwd'), "a link to '/etc/passwd'"),
    (link(tarfile.SYMTYPE, 'train_0.jpg'), 'a link'), (link(tarfile.LNKTYPE, '../../secret'), 'leads out'),
    (link(tarfile.LNKTYPE, '/etc/passwd'), 'leads out'), (link(tarfile.LNKTYPE, 'nothing'), 'a link to'),
    (link(tarfile.CHRTYPE, ''), 'a device'), (link(tarfile.FIFOTYPE, ''), 'a device')])
@pytest.mark.parametrize('suffix', ['.tar', '.tar.7z'])
def test_links_and_devices(tmp_path, suffix, member, why):
    data = tar_bytes(members=[member])
    fails(write(tmp_path, suffix, data if suffix == '.tar' else seven_bytes({'a.tar': data})), tmp_path/'out', why)

def test_a_file_through_a_link(tmp_path):
    "The old trick: a link to a folder outside, then a file in it."
    trick = tar_bytes(members=[link(tarfile.SYMTYPE, str(tmp_path), 'x'), link(tarfile.REGTYPE, '', 'x/harm.txt')])
    fails(write(tmp_path, '.tar', trick), tmp_path/'out', 'a link')
    assert not (tmp_path/'harm.txt').exists()

def test_a_link_in_a_zip(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        info = zipfile.ZipInfo('train-jpg/link')
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(info, '/etc/passwd')
    fails(write(tmp_path, '.zip', out.getvalue()), tmp_path/'out', 'a link or a device')

@pytest.mark.skipif(os.name != 'posix', reason='Windows makes links for administrators alone')
def test_a_link_in_a_7z(tmp_path):
    (tmp_path/'in').mkdir()
    (tmp_path/'in'/'link').symlink_to('/etc/passwd')
    with py7zr.SevenZipFile(tmp_path/'x.7z', 'w') as z: z.writeall(tmp_path/'in', 'in')
    fails(tmp_path/'x.7z', tmp_path/'out', 'a link or a device')

# ---- whole, but not for us: fetching it again would bring the same

@pytest.mark.parametrize('header', [False, True])
def test_a_7z_with_a_password(tmp_path, header):
    with py7zr.SevenZipFile(tmp_path/'x.7z', 'w', password='secret', header_encryption=header) as z:
        z.writestr(b'a', 'a.txt')
    fails(tmp_path/'x.7z', tmp_path/'out', 'it wants a password', 'unpack it by hand', error=UnsupportedArchive)

def test_a_zip_with_a_password(tmp_path):
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    for magic, flags in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)): # the flag alone is looked at
        at = -1
        while (at := data.find(magic, at+1)) >= 0: data[at+flags] |= 1
    path.write_bytes(data)
    fails(path, tmp_path/'out', 'it wants a password', error=UnsupportedArchive)
    with pytest.raises(UnsupportedArchive, match='password'): unpack_file(path, tmp_path/'train_0.jpg')

def test_a_method_that_is_not_known(tmp_path):
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    for magic, method in ((b'PK\x03\x04', 8), (b'PK\x01\x02', 10)):
        at = -1
        while (at := data.find(magic, at+1)) >= 0: data[at+method] = 97
    path.write_bytes(data)
    fails(path, tmp_path/'out', 'cannot be unpacked here', error=UnsupportedArchive)

# ---- decompression bombs

ZEROS = {'a.jpg': bytes(3_000_000), 'b.jpg': b'x'}

@pytest.fixture
def strict(monkeypatch): monkeypatch.setattr(archives, 'HARMLESS', 1_000_000)

@pytest.mark.parametrize('suffix', ['.zip', '.7z', '.tar.gz', '.tar.bz2', '.tar.xz', '.tar.7z'])
def test_a_bomb_by_its_ratio(tmp_path, strict, suffix):
    path = write(tmp_path, suffix, MAKE[suffix](ZEROS))
    assert 3_000_000 > 200*path.stat().st_size
    fails(path, tmp_path/'out', 'a decompression bomb', 'not to be trusted')

@pytest.mark.parametrize('suffix', MAKE)
def test_more_than_the_archive_may_hold(tmp_path, suffix):
    fails(write(tmp_path, suffix), tmp_path/'out', 'a decompression bomb', limit=20_000)
    assert contents(unpack(tmp_path/f'train-jpg{suffix}', tmp_path/'out', limit=200_000)) == INSIDE

def test_a_bomb_in_an_archive(tmp_path, strict):
    fails(write(tmp_path, '.zip', zip_bytes({'x.zip': zip_bytes(ZEROS)})), tmp_path/'out', 'a decompression bomb')

def test_a_table_that_is_a_bomb(tmp_path, strict):
    path = write(tmp_path, '.zip', zip_bytes({'train_v2.csv': bytes(3_000_000)}))
    with pytest.raises(BadArchive, match='a decompression bomb'): unpack_file(path, tmp_path/'train_v2.csv')
    assert left(tmp_path) == [path.name]

def test_archives_in_archives_without_end(tmp_path):
    data = zip_bytes({'a.txt': b'a'})
    for _ in range(6): data = zip_bytes({'x.zip': data})
    fails(write(tmp_path, '.zip', data), tmp_path/'out', 'archives in archives')

def test_many_hard_links_count(tmp_path, strict):
    "A small tar in which one file has many names."
    links = [link(tarfile.LNKTYPE, 'big.jpg', f'{i}.jpg') for i in range(500)]
    path = write(tmp_path, '.tar.gz', tar_bytes({'big.jpg': bytes(10_000)}, 'w:gz', links))
    fails(path, tmp_path/'out', 'a decompression bomb')

def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, 'ENTRIES', 10)
    for suffix in MAKE: fails(write(tmp_path, suffix), tmp_path/'out', 'more than 10 files')

# ---- the disk

@pytest.fixture
def small(tmp_path):
    "A real disk of 100 kB."
    disk = tmp_path/'small'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=100k', 'tmpfs', disk]
    if os.name != 'posix' or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no small disk can be mounted: it takes root on Linux')
    yield disk
    subprocess.run(['umount', disk])

BIG = {f'{i}.jpg': bytes(1000) + random.Random(i).randbytes(20000) for i in range(10)}

@pytest.mark.parametrize('suffix', ['.zip', '.7z', '.tar', '.tar.7z'])
def test_a_disk_too_small_is_seen_before(tmp_path, small, suffix):
    path = write(tmp_path, suffix, MAKE[suffix](BIG))
    with pytest.raises(UserError, match='unpacking train-jpg.* needs 2.. kB and the disk of .* has 10. kB free'):
        unpack(path, small/'out')
    assert not left(small)

@pytest.mark.parametrize('suffix', ['.zip', '.7z', '.tar', '.tar.7z'])
def test_a_disk_that_fills_up(tmp_path, small, suffix, monkeypatch):
    monkeypatch.setattr(archives, 'need_space', lambda *args: None) # somebody else writes to the disk meanwhile
    with pytest.raises(OSError, match='No space left'): unpack(write(tmp_path, suffix, MAKE[suffix](BIG)), small/'out')
    assert not left(small)

# ---- what is said meanwhile

def test_lines_in_a_pipe(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(meter, 'EVERY', 0)
    unpack(write(tmp_path, '.tar.7z'), tmp_path/'out')
    said = capsys.readouterr().out.splitlines()
    moving = re.compile(r'unpacking train-jpg.tar.7z: .* of 5.\.. kB .*%, .*/s')
    assert said and all(map(moving.fullmatch, said)) and '100%' in said[-1]

@pytest.mark.parametrize('n,text', [(0, '0 bytes'), (999, '999 bytes'), (1000, '1.0 kB'), (15_523_994, '15.5 MB'),
                                    (999_600, '1.0 MB'), (1.3e10, '13.0 GB'), (2e13, '20000 GB')])
def test_sizes(n, text): assert meter.size_text(n) == text
