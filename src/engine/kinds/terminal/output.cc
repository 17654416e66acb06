// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/terminal/output.h"

#include <asm/termbits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "engine/target/undisturbed.h"

namespace ks::engine::terminal {

namespace {

constexpr int kPatience = 1000;  // milliseconds for the kernel to hand on what was written
// A terminal has been seen to hold up to 22096 bytes, and to take back 20480 in pieces of this size, fewer in larger
// ones.
constexpr size_t kRoom = 32768, kPiece = 256;

size_t waiting(int master) { return waiting_output(master).value_or(0); }

bool write_output(int slave, const char* text, size_t bytes, std::atomic<size_t>& put) {
  for (int tries = 0; put < bytes && tries < kPatience;) {
    // Written to without room, it would block.
    pollfd room{.fd = slave, .events = POLLOUT, .revents = 0};
    bool has_room = ::poll(&room, 1, 1) > 0 && room.revents & POLLOUT;
    ssize_t length = has_room ? ::write(slave, text + put, std::min(kPiece, bytes - put)) : 0;
    if (length > 0)
      put += static_cast<size_t>(length);
    else
      ++tries;
  }
  return put == bytes;
}

bool set_settings(int slave, const termios2& settings) { return ::ioctl(slave, TCSETS2, &settings) == 0; }

termios2 unprocessed(termios2 settings) {
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  return settings;
}

}  // namespace

Result<size_t> waiting_output(int master) {
  pollfd arrived{.fd = master, .events = POLLIN, .revents = 0};
  int bytes = 0;
  if (::poll(&arrived, 1, 0) < 0 || ::ioctl(master, FIONREAD, &bytes)) return fail_errno("FIONREAD");
  return static_cast<size_t>(bytes);
}

struct OutputTurnover::Taken {
  termios2 settings{};
  timespec times[2]{};
  std::atomic<size_t> bytes = 0, about_to_be = 0;  // have been taken
  std::atomic<bool> all = false;
  std::atomic<size_t> put = 0;  // are back
  char text[kRoom]{};
};

void OutputTurnover::Unmap::operator()(Taken* taken) const { ::munmap(taken, sizeof *taken); }

Result<OutputTurnover> OutputTurnover::prepare(int master, int slave) {
  constexpr int kFlags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
  struct stat stat{};
  if (::fstat(slave, &stat)) return fail_errno("fstat");
  void* at = ::mmap(nullptr, sizeof(Taken), PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (at == MAP_FAILED) return fail_errno("memory for output");
  std::unique_ptr<Taken, Unmap> taken(new (at) Taken);
  if (::mlock(at, sizeof(Taken))) return fail_errno("memory for output");
  if (::ioctl(slave, TCGETS2, &taken->settings)) return fail_errno("TCGETS2");
  taken->times[0] = stat.st_atim;
  taken->times[1] = stat.st_mtim;
  return OutputTurnover(master, slave, std::move(taken));
}

bool OutputTurnover::take_all() {
  // One piece more, if somebody was killed before he could say so: it is not there any more.
  if (waiting(master_) < taken_->about_to_be - taken_->bytes) taken_->bytes = taken_->about_to_be.load();
  // What is on its way comes before what is put back: so until there is nothing.
  for (size_t there; (there = waiting(master_)) > 0; taken_->bytes = taken_->about_to_be.load()) {
    if (taken_->bytes + there > kRoom) return false;
    taken_->about_to_be = taken_->bytes + there;
    if (::read(master_, taken_->text + taken_->bytes, there) != static_cast<ssize_t>(there)) return false;
  }
  taken_->all = true;
  return true;
}

bool OutputTurnover::put_all_back() {
  size_t most = std::min(taken_->bytes.load(), kMostOutput);
  if (taken_->bytes < kMostOutput) taken_->put = waiting(master_);  // also what somebody could not say any more
  bool put = set_settings(slave_, unprocessed(taken_->settings)) &&
             write_output(slave_, taken_->text, taken_->bytes, taken_->put);
  bool set = set_settings(slave_, taken_->settings);
  (void)::futimens(slave_, taken_->times);
  for (int i = 0; i < kPatience && waiting(master_) < most; ++i) ::usleep(1000);
  return put && set && waiting(master_) == most;
}

bool OutputTurnover::carry_out() {
  // What one who was killed had written may be on its way.
  for (int i = 0; i < 20 && taken_->all; ++i) ::usleep(1000);
  return (taken_->all || take_all()) && put_all_back();
}

std::string OutputTurnover::output() const { return std::string(taken_->text, taken_->bytes); }

Result<std::string> read_output(int master, int slave) {
  auto turnover = TRY(OutputTurnover::prepare(master, slave));
  if (!TRY(do_undisturbed([&] { return turnover.carry_out(); })))
    return fail("its output has changed while it was read");
  return turnover.output();
}

Result<> put_output(int slave, const std::string& output) {
  termios2 settings{};
  std::atomic<size_t> put = 0;
  if (::ioctl(slave, TCGETS2, &settings) || !set_settings(slave, unprocessed(settings))) return fail_errno("TCSETS2");
  if (!write_output(slave, output.data(), output.size(), put)) return fail("does not take its output");
  return set_settings(slave, settings) ? Result<>() : fail_errno("TCSETS2");
}

}  // namespace ks::engine::terminal
