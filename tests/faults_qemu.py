# SPDX-License-Identifier: BSD-3-Clause
"""
Kills a daemon before and after everything that it says to QEMU.

A bitmap moves between two storage daemons; one of the two dirtyferryds
(tests/crash-daemon.c) dies at its Nth question, before it is asked or after it
is answered, and is started again.  N goes up until nobody dies.  Then all is
brought to an end, as an operator would, and
  - the bitmap is where it should be, with the flags that it had, and its hash is
    that of a naive model: the bits of the source, and what was written since;
  - nothing else is left: no bitmap, export or node of ours, no file.

    faults_qemu.py BUILD-DIRECTORY STEP FIRST    every STEP-th N, from FIRST on
"""
import concurrent.futures
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'examples'))

import qbits
from qmp import Qmp, QmpError

BUILD = os.path.abspath(sys.argv[1])
STEP, FIRST = int(sys.argv[2]), int(sys.argv[3])
JOBS = 6      # they wait for each other, not for the processor
SIZE, GRANULARITY = 64 << 30, 65536
PATIENCE_S = 60
SOURCE_BITS = (0, 64 << 20, 10 << 30)
TARGET_BITS = (64 << 20, 30 << 30)
LATE_BITS = (20 << 30,)


class Wrong(Exception):
    pass


def until(what, done):
    end = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > end:
            raise Wrong('not in %d s: %s' % (PATIENCE_S, what))
        time.sleep(0.02)


class Storage:
    """A qemu-storage-daemon with the node d0; `monitor` is dirtyferry's, `call` has one of its own."""

    def __init__(self, directory, name):
        self.monitor, self.nbd, own = ('%s/%s.%s' % (directory, name, what) for what in ('qmp', 'nbd', 'own'))
        image = '%s/%s.qcow2' % (directory, name)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, str(SIZE)], check=True)
        monitors = [word for path in (self.monitor, own) for word in
                    ('--chardev', 'socket,id=%s,path=%s,server=on,wait=off' % (path[-3:], path), '--monitor', 'chardev=' + path[-3:])]
        self.process = subprocess.Popen(['qemu-storage-daemon', *monitors, '--blockdev', 'qcow2,node-name=d0,file.driver=file,file.filename=' + image])
        until('a monitor at ' + own, lambda: os.path.exists(own))
        self.call = Qmp(own, PATIENCE_S).call

    def nodes(self):
        return self.call('query-named-block-nodes', flat=True)

    def bitmaps(self):
        return {b['name']: b for n in self.nodes() if n['node-name'] == 'd0' for b in n.get('dirty-bitmaps', [])}

    def write(self, offsets, meanwhile=lambda: None):
        # A QEMU has one NBD server, and ours may be there for a moment, or until the daemon that died is there again.
        def started():
            meanwhile()
            try:
                self.call('nbd-server-start', addr={'type': 'unix', 'data': {'path': self.nbd}})
            except QmpError:
                return False
            return True
        until('an NBD server', started)
        self.call('block-export-add', type='nbd', id='guest', node_name='d0', name='guest', writable=True)
        writes = [word for offset in offsets for word in ('-c', 'write -q %d 64k' % offset)]
        subprocess.run(['qemu-io', '-f', 'raw', *writes, 'nbd+unix:///guest?socket=' + self.nbd], check=True)
        self.call('nbd-server-stop')

    def check(self, offsets):
        """Offsets are dirty in b0, which records; None: there is no b0.  And there is nothing else."""
        strays = [b for b in self.bitmaps() if b != 'b0'] + [n['node-name'] for n in self.nodes() if n['node-name'].startswith('dirtyferry')] + \
                 [e['id'] for e in self.call('query-block-exports')]
        if strays:
            raise Wrong('left behind: %s' % strays)
        found = self.bitmaps().get('b0')
        if (offsets is None) != (found is None):
            raise Wrong('bitmap b0: %s' % found)
        if offsets is None:
            return
        bits = qbits.from_ranges(SIZE, GRANULARITY, ('%d %d' % (offset, GRANULARITY) for offset in offsets))
        if not found['recording'] or not found['persistent']:
            raise Wrong('flags: %s' % found)
        if self.call('x-debug-block-dirty-bitmap-sha256', node='d0', name='b0')['sha256'] != qbits.sha256([bits]):
            raise Wrong('other bits than those of %s: %s' % (sorted(offsets), found))

    def clean(self):
        for name in self.bitmaps():
            self.call('block-dirty-bitmap-remove', node='d0', name=name)


class Daemon:
    def __init__(self, directory, name, storage):
        self.state, self.storage = '%s/%s' % (directory, name), storage
        self.endpoints = ['ipc://%s/%s.%s' % (directory, name, which) for which in ('c', 'd', 'e')]
        self.log = open('%s/%s.log' % (directory, name), 'wb')
        self.process = None

    def start(self, crash=None):
        environment = dict(os.environ)
        environment.pop('DF_CRASH', None)
        if crash:
            environment['DF_CRASH'] = crash
        control, data, events = self.endpoints
        self.process = subprocess.Popen([BUILD + '/tests/crash-daemon', '--state-dir', self.state, '--control', control, '--data', data, '--events', events],
                                        stdout=subprocess.PIPE, stderr=self.log, env=environment)
        self.process.stdout.readline()

    def has_died(self):
        return self.process.poll() is not None

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, *words):
        return subprocess.run([BUILD + '/dirtyferry', '--json', '-c', self.endpoints[0], *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def sessions(self):
        answer = self.ask('status')
        found = json.loads(answer.stdout) if answer.returncode == 0 else []
        return found if isinstance(found, list) else found.get('sessions', [found])

    def state_of(self, session, role):
        return next((s['state'] for s in self.sessions() if s['session'] == session and s['role'] == role), None)


class Move:
    """One move, with an operator who asks until he gets an answer."""

    def __init__(self, directory, storages, crash):
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        self.storages = storages
        self.source, self.target = (Daemon(directory, name, s) for name, s in zip('st', storages))
        self.crash = crash
        self.died = False
        for d in (self.source, self.target):
            d.start()
            if d.ask('disk', 'add', 'vda', '--qemu', d.storage.monitor, '--node', 'd0').returncode:
                raise Wrong('disk add')
        victim = {'source': self.source, 'target': self.target}[crash[0]]
        victim.stop()
        victim.start('qmp:%s:%d' % crash[1:])

    def revive(self):
        for d in (self.source, self.target):
            if d.has_died():
                self.died = True
                d.stop()
                d.start()

    def ask(self, daemon, *words):
        """Until it is done: who was not answered asks again."""
        answer = None

        def asked():
            nonlocal answer
            answer = daemon.ask(*words)
            self.revive()
            return answer.returncode == 0
        try:
            until(' '.join(words), asked)
        except Wrong as wrong:
            raise Wrong('%s: %s' % (wrong, answer.stderr)) from None
        return answer.stdout

    def prepare(self):
        """A prepare that failed may have left one side prepared: cancelled, and asked anew."""
        def prepared():
            answer = self.source.ask('prepare', 'vda/b0', '--from', self.source.endpoints[0], '--to', self.target.endpoints[0])
            self.revive()
            if answer.returncode == 0:
                self.session = json.loads(answer.stdout)['session']
                return True
            for daemon, option in ((self.source, '--from'), (self.target, '--to')):
                for s in daemon.sessions():
                    if s['state'] == 'prepared':
                        daemon.ask('cancel', s['session'], option, daemon.endpoints[0])
            return False
        until('prepare', prepared)

    def end(self, daemon, role, state):
        def ended():
            self.revive()
            return daemon.state_of(self.session, role) == state
        until('%s of the %s' % (state, role), ended)

    def go(self, ending):
        source, target = self.storages
        self.prepare()
        if ending == 'cancel':
            self.ask(self.source, 'cancel', self.session, '--from', self.source.endpoints[0])
            return SOURCE_BITS, None
        self.ask(self.source, 'pivot', self.session, '--from', self.source.endpoints[0])
        if ending == 'rollback':
            source.write(LATE_BITS, self.revive)
            self.ask(self.source, 'rollback', self.session, '--from', self.source.endpoints[0])
            return SOURCE_BITS + LATE_BITS, None
        self.ask(self.target, 'pivot', self.session, '--to', self.target.endpoints[0])
        target.write(TARGET_BITS, self.revive)
        self.end(self.target, 'target', 'operative')
        self.end(self.source, 'source', 'released')
        return None, SOURCE_BITS + TARGET_BITS

    def is_tidy(self):
        self.revive()
        return not any(b.startswith('dirtyferry') for s in self.storages for b in s.bitmaps()) and \
            not any(os.listdir(d.state + '/qemu') for d in (self.source, self.target))

    def stop(self):
        for d in (self.source, self.target):
            d.stop()


def run(directory, storages, crash, ending):
    """Did the daemon die?"""
    source = storages[0]
    for s in storages:
        s.clean()
    source.call('block-dirty-bitmap-add', node='d0', name='b0', persistent=True)
    source.write(SOURCE_BITS)
    move = Move(directory, storages, crash)
    try:
        expected = move.go(ending)
        until('nothing of ours in QEMU and in STATE/qemu', move.is_tidy)
        for s, offsets in zip(storages, expected):
            s.check(offsets)
    finally:
        move.stop()
    return move.died


def series(ending, role, when):
    """Until nobody dies any more: how many did, and what went wrong or None."""
    directory = tempfile.mkdtemp(prefix='df-faults-qemu.')
    storages = []
    deaths, n = 0, FIRST
    try:
        storages = [Storage(directory, name) for name in 'st']
        while run(directory + '/move', storages, (role, when, n), ending):
            deaths += 1
            n += STEP
        return deaths, None
    except (Wrong, QmpError) as wrong:
        return deaths, '%s, the %s dies %s its question %d: %s' % (ending, role, when, n, wrong)
    finally:
        for s in storages:
            s.process.kill()
            s.process.wait()
        shutil.rmtree(directory)


def main():
    all_series = itertools.product(('operative', 'rollback', 'cancel'), ('source', 'target'), ('before', 'after'))
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(lambda s: series(*s), all_series))
    deaths = sum(d for d, _ in results)
    for wrong in (w for _, w in results if w):
        print('FAILED:', wrong)
    print('%d daemons died in %d series' % (deaths, len(results)))
    if deaths < 60 // STEP:
        print('FAILED: the questions to QEMU are not there any more')
        return 1
    return any(w for _, w in results)


if __name__ == '__main__':
    sys.exit(main())
