// SPDX-License-Identifier: LGPL-2.1-or-later
// A terminal that was opened as /dev/tty: by a process whose controlling terminal it is, and so it is opened again.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "engine/kinds/kind.h"
#include "engine/own_terminal.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "own-terminal";
constexpr uint32_t kVersion = 1;
constexpr char kPath[] = "/dev/tty";

bool owns(const OpenFile& file) {
  return S_ISCHR(file.stat.st_mode) && file.stat.st_rdev == makedev(5, 0) && !(file.flags() & O_PATH) &&
         file.link == kPath;
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  Fd mine = TRY(file.fetch());
  unsigned device = 0;
  if (::ioctl(mine.get(), TIOCGDEV, &device)) return refuse("a terminal that does not tell which one it is");
  auto owner = std::ranges::find_if(dumping.processes, [&](const StoppedProcess& process) {
    return !process.zombie && static_cast<unsigned>(process.stat.tty_nr) == device;
  });
  if (owner == dumping.processes.end())
    return refuse("a terminal that is no longer the controlling one of any process of the service");
  image::OwnTerminal out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_pid(owner->pid);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fd> make_one(Restoring& restoring, const image::OwnTerminal& terminal) {
  RestoredProcess& process = *TRY(restoring.process(terminal.pid()));
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span(kPath))));
  auto opened = TRY(in(kPath, process.leader()(SYS_openat, AT_FDCWD, process.scratch, terminal.flags() | O_CLOEXEC)));
  Fd mine = TRY(fetch_descriptor(process.pid, static_cast<int>(opened)));
  TRY(in("close", process.leader()(SYS_close, opened)));
  return mine;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kOwnTerminal;
const Kind kOwnTerminal{.name = kName,
                        .version = kVersion,
                        .owns = owns,
                        .dump = dump,
                        .make = make,
                        .of_processes = true,
                        .of_holder = true};

}  // namespace ks::engine
