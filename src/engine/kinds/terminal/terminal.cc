// SPDX-License-Identifier: LGPL-2.1-or-later
// Pseudo-terminals (pty(7)) of which the service has both ends. No call reads what lies in one without taking it
// away: output is put back (output.h), and input is read where it lies (input.h).
#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/terminal/input.h"
#include "engine/kinds/terminal/output.h"
#include "engine/terminal.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "terminal";
constexpr uint32_t kVersion = 3;  // 1: without output, 2: without input
// Documentation/admin-guide/devices.txt
constexpr unsigned kMasterMajor = 5, kMasterMinor = 2;
constexpr unsigned kFirstSlave = 136, kLastSlave = 143, kSlavesEach = 256;
constexpr int kMostIndexes = 4096;  // counted up to, each a terminal for a moment

bool is_master(const OpenFile& file) { return file.stat.st_rdev == makedev(kMasterMajor, kMasterMinor); }

bool owns(const OpenFile& file) {
  unsigned number = major(file.stat.st_rdev);
  return S_ISCHR(file.stat.st_mode) && !(file.flags() & O_PATH) &&
         (is_master(file) || (number >= kFirstSlave && number <= kLastSlave));
}

dev_t slave_device(unsigned index) { return makedev(kFirstSlave + index / kSlavesEach, index % kSlavesEach); }

template <class T>
Result<T> ask(int fd, unsigned long request, const char* name) {
  T value{};
  if (::ioctl(fd, request, &value)) return fail_errno(name);
  return value;
}

Result<short> readiness(int fd) {
  pollfd waiting{.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};
  if (::poll(&waiting, 1, 0) < 0) return fail_errno("poll");
  return waiting.revents;
}

// "/dev/ptmx" belongs to the file system at "pts" beside it, "/dev/pts/ptmx" to that in which it lies (kernel:
// devpts_acquire).
std::string node_path(const std::string& master, unsigned index) {
  std::string directory = master.substr(0, master.rfind('/'));
  if (!directory.ends_with("/pts")) directory += "/pts";
  return fmt::format("{}/{}", directory, index);
}

void describe_end(const OpenFile& file, image::Terminal::End& out) {
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_path(file.link);
}

Result<> check_outside(Dumping& dumping, const OpenFile& master, unsigned index, const struct stat& node) {
  auto user = TRY(dumping.outside.sharer(node.st_dev, node.st_ino));
  for (auto [pid, fd] : TRY(dumping.outside.descriptors(master.link))) {
    auto text = read_file(proc_path(pid, fmt::format("fdinfo/{}", fd)));
    if (text && text->find(fmt::format("tty-index:\t{}\n", index)) != text->npos) user = pid;
  }
  if (user) return refuse(fmt::format("shared with pid {}, which is not part of it", *user));
  return {};
}

// What no image can hold.
Result<> check_state(int master, int slave) {
  for (int fd : {master, slave})
    if (TRY(ask<int>(fd, TIOCGETD, "TIOCGETD")) != 0)
      return refuse("has a line discipline other than that of terminals");
  short of_master = TRY(readiness(master)), of_slave = TRY(readiness(slave));
  if (of_master & POLLPRI) return refuse_for_now("has a change of its state to report (TIOCPKT)");
  if (!(of_master & POLLOUT) || !(of_slave & POLLOUT)) return refuse("is stopped (control-S)");
  auto locked = TRY(ask<termios>(slave, TIOCGLCKTRMIOS, "TIOCGLCKTRMIOS"));
  if (locked.c_iflag | locked.c_oflag | locked.c_cflag | locked.c_lflag | locked.c_line ||
      std::ranges::any_of(locked.c_cc, [](cc_t character) { return character != 0; }))
    return refuse("has locked settings (TIOCSLCKTRMIOS)");
  return {};
}

// To read and to write a terminal signals whoever has asked for it, under whichever of its names he has opened it.
bool signals_anybody(const Dumping& dumping) {
  return std::ranges::any_of(dumping.open_files, [](const OpenFile& file) {
    bool terminal = owns(file) || (S_ISCHR(file.stat.st_mode) && file.stat.st_rdev == makedev(kMasterMajor, 0));
    return terminal && file.info.flags & O_ASYNC;
  });
}

// Only for an image, not to examine: to an epoll that watches it edge-triggered, this is an edge.
Result<> dump_output(Dumping& dumping, int master, const std::vector<const OpenFile*>& slaves, image::Terminal& out) {
  size_t bytes = TRY(terminal::waiting_output(master));
  if (!bytes) return {};
  if (bytes >= terminal::kMostOutput)
    return refuse_for_now("has more output that has not been read than could be put back");
  if (out.packets()) return refuse_for_now("has output that has not been read, in packet mode (TIOCPKT)");
  if (signals_anybody(dumping)) return refuse_for_now("has output that has not been read, and signals it (O_ASYNC)");
  auto writable =
      std::ranges::find_if(slaves, [](const OpenFile* slave) { return (slave->flags() & O_ACCMODE) != O_RDONLY; });
  if (writable == slaves.end())
    return refuse_for_now("has output that has not been read, and nobody who could write it");
  if (!dumping.image || !dumping.verdict.ready()) return {};
  Fd slave = TRY((*writable)->fetch());
  out.set_output(TRY(terminal::read_output(master, slave.get())));
  return {};
}

Result<> dump_state(int master, int slave, image::Terminal& out) {
  auto settings = TRY(ask<termios2>(slave, TCGETS2, "TCGETS2"));
  out.set_settings(&settings, sizeof settings);
  TRY(terminal::dump_input(slave, settings, out));
  auto size = TRY(ask<winsize>(slave, TIOCGWINSZ, "TIOCGWINSZ"));
  out.set_rows(size.ws_row);
  out.set_columns(size.ws_col);
  out.set_width(size.ws_xpixel);
  out.set_height(size.ws_ypixel);
  out.set_locked(TRY(ask<int>(master, TIOCGPTLCK, "TIOCGPTLCK")));
  out.set_packets(TRY(ask<int>(master, TIOCGPKT, "TIOCGPKT")));
  out.set_master_exclusive(TRY(ask<int>(master, TIOCGEXCL, "TIOCGEXCL")));
  out.set_slave_exclusive(TRY(ask<int>(slave, TIOCGEXCL, "TIOCGEXCL")));
  return {};
}

Result<> dump_pair(Dumping& dumping, const OpenFile& master, const std::vector<const OpenFile*>& slaves,
                   unsigned index) {
  image::Terminal out;
  out.set_index(index);
  out.set_node(node_path(master.link, index));
  out.set_device(slave_device(index));
  struct stat node{};
  auto named = open_in_root(dumping.mounts.root.get(), out.node(), O_PATH | O_NOFOLLOW);
  if (!named || ::fstat(named->get(), &node) || node.st_rdev != slave_device(index))
    return refuse(out.node() + " does not lead to its other end");
  TRY(check_outside(dumping, master, index, node));
  if (slaves.empty()) return refuse("no process of the service has its other end open");
  for (const OpenFile* slave : slaves)
    if (slave->stat.st_dev != node.st_dev) return refuse("its other end lies in another devpts");
  out.set_mode(node.st_mode & 07777);
  out.set_uid(node.st_uid);
  out.set_gid(node.st_gid);
  out.set_accessed(node.st_atim.tv_sec);
  out.set_modified(node.st_mtim.tv_sec);
  describe_end(master, *out.mutable_master());
  for (const OpenFile* slave : slaves) describe_end(*slave, *out.add_slaves());
  Fd of_master = TRY(master.fetch()), of_slave = TRY(slaves.front()->fetch());
  TRY(check_state(of_master.get(), of_slave.get()));
  TRY(dump_state(of_master.get(), of_slave.get(), out));
  TRY(dump_output(dumping, of_master.get(), slaves, out));
  auto session = ask<pid_t>(of_master.get(), TIOCGSID, "TIOCGSID"),
       foreground = ask<pid_t>(of_master.get(), TIOCGPGRP, "TIOCGPGRP");
  dumping.terminals[slave_device(index)] = {.session = session ? *session : 0,
                                            .foreground = foreground ? *foreground : 0};
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::map<dev_t, std::vector<const OpenFile*>> slaves;
  for (const OpenFile& file : files)
    if (!is_master(file)) slaves[file.stat.st_rdev].push_back(&file);
  for (const OpenFile& file : files) {
    if (!is_master(file)) continue;
    Fd fd = TRY(file.fetch());
    auto index = TRY(in(file.object(), ask<unsigned>(fd.get(), TIOCGPTN, "TIOCGPTN")));
    auto ends = slaves.extract(slave_device(index));
    auto dumped = dump_pair(dumping, file, ends.empty() ? std::vector<const OpenFile*>{} : ends.mapped(), index);
    if (!dumped && dumped.error().refusal)
      dumping.refuse(file.pid, file.object(), dumped.error().what);
    else
      TRY(in(file.object(), std::move(dumped)));
  }
  for (const auto& [device, ends] : slaves)
    for (const OpenFile* end : ends)
      dumping.refuse(end->pid, end->object(),
                     "a terminal whose other end is not part of the service, or that has been hung up");
  return {};
}

// The kernel gives out the lowest number that is free.
Result<Fd> open_master(const Restoring& restoring, const image::Terminal& terminal) {
  std::vector<Fd> others;
  for (int attempt = 0; attempt < kMostIndexes; ++attempt) {
    Fd fd = TRY(open_in_root(restoring.root.get(), terminal.master().path(),
                             static_cast<int>(terminal.master().flags()) | O_NOCTTY));
    auto index = TRY(ask<unsigned>(fd.get(), TIOCGPTN, "TIOCGPTN"));
    if (index == terminal.index()) return fd;
    if (index > terminal.index()) return fail("is taken");
    others.push_back(std::move(fd));
  }
  return fail("cannot be had");
}

Result<> set_flag(int fd, unsigned long request, const char* name, bool on) {
  int value = on;
  if (::ioctl(fd, request, &value)) return fail_errno(name);
  return {};
}

Result<Fd> open_slave(const Restoring& restoring, const image::Terminal& terminal, uint32_t flags) {
  Fd fd = TRY(open_in_root(restoring.root.get(), terminal.node(), static_cast<int>(flags) | O_NOCTTY));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno("fstat");
  if (found.st_rdev != terminal.device()) return fail("does not lead to the other end");
  return fd;
}

Result<> dress_node(int slave, const image::Terminal& terminal) {
  if (::fchown(slave, terminal.uid(), terminal.gid()) || ::fchmod(slave, terminal.mode())) return fail_errno("owner");
  timespec times[] = {{terminal.accessed(), 0}, {terminal.modified(), 0}};
  if (::futimens(slave, times)) return fail_errno("futimens");
  return {};
}

Result<> make_terminal(Restoring& restoring, const image::Terminal& terminal, Fds& made) {
  Fd master = TRY(open_master(restoring, terminal));
  TRY(set_flag(master.get(), TIOCSPTLCK, "TIOCSPTLCK", false));
  Fd slave = TRY(open_slave(restoring, terminal, O_RDWR));
  for (const auto& end : terminal.slaves()) made.emplace(end.id(), TRY(open_slave(restoring, terminal, end.flags())));
  if (terminal.settings().size() != sizeof(termios2)) return fail("settings of the wrong size");
  termios2 settings{};
  std::memcpy(&settings, terminal.settings().data(), sizeof settings);
  TRY(terminal::put_input(master.get(), slave.get(), settings, terminal));
  if (!terminal.output().empty()) TRY(terminal::put_output(slave.get(), terminal.output()));
  winsize size{.ws_row = static_cast<unsigned short>(terminal.rows()),
               .ws_col = static_cast<unsigned short>(terminal.columns()),
               .ws_xpixel = static_cast<unsigned short>(terminal.width()),
               .ws_ypixel = static_cast<unsigned short>(terminal.height())};
  if (::ioctl(slave.get(), TIOCSWINSZ, &size)) return fail_errno("TIOCSWINSZ");
  TRY(dress_node(slave.get(), terminal));
  TRY(set_flag(master.get(), TIOCPKT, "TIOCPKT", terminal.packets()));
  if (terminal.locked()) TRY(set_flag(master.get(), TIOCSPTLCK, "TIOCSPTLCK", true));
  if (terminal.master_exclusive() && ::ioctl(master.get(), TIOCEXCL)) return fail_errno("TIOCEXCL");
  if (terminal.slave_exclusive() && ::ioctl(slave.get(), TIOCEXCL)) return fail_errno("TIOCEXCL");
  made.emplace(terminal.master().id(), std::move(master));
  restoring.terminals.emplace(terminal.device(), std::move(slave));
  return {};
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::Terminal terminal;
    TRY(parse_body(envelope, terminal));
    TRY(in(terminal.node(), make_terminal(restoring, terminal, made)));
  }
  return made;
}

}  // namespace

extern const Kind kTerminal;
const Kind kTerminal{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .disturbs = true};

}  // namespace ks::engine
