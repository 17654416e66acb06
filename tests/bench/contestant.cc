// SPDX-License-Identifier: LGPL-2.1-or-later
#include "contestant.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "engine/engine.h"
#include "upgrade/hold/held_socket.h"
#include "upgrade/hold/table.h"

namespace ks::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double cpu_seconds(const rusage& usage) {
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double own_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return cpu_seconds(usage);
}

uint64_t own_peak() {
  auto text = read_file("/proc/self/status");
  if (!text) return 0;
  size_t at = text->find("VmHWM:");
  return at == std::string::npos ? 0 : std::strtoull(text->c_str() + at + 6, nullptr, 10) * 1024;
}

// The answer comes through a pipe: an error text, or the numbers.
Result<Feat> apart(const std::function<Result<Feat>()>& work) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  Fd answer(fds[0]), mine(fds[1]);
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    answer = Fd();
    auto feat = work();
    if (feat) {
      feat->peak_bytes = own_peak();
      (void)write_all(mine.get(), {reinterpret_cast<const char*>(&*feat), sizeof *feat}, "answer");
    } else {
      (void)write_all(mine.get(), feat.error().what, "answer");
    }
    ::_exit(feat ? 0 : 1);
  }
  mine = Fd();
  std::string text = TRY(read_all(answer.get(), "answer"));
  int status = 0;
  if (::waitpid(pid, &status, 0) < 0) return fail_errno("waitpid");
  Feat feat;
  if (status != 0 || text.size() != sizeof feat) return fail(text.empty() ? "died" : text);
  std::memcpy(&feat, text.data(), sizeof feat);
  return feat;
}

// Of another system, whose criu runs with that system's libraries.
std::string criu_root() {
  const char* root = std::getenv("KS_CRIU_CHROOT");
  return root ? root : "";
}

Result<Feat> run_criu(const std::string& image, const std::vector<std::string>& arguments) {
  std::filesystem::create_directories(image);
  std::vector<std::string> command = {"criu"};
  if (std::string root = criu_root(); !root.empty()) {
    std::string libraries = "/lib/x86_64-linux-gnu";
    command = {root + "/lib64/ld-linux-x86-64.so.2", "--library-path",
               root + libraries + ":" + root + "/usr" + libraries, root + "/usr/sbin/criu"};
  }
  command.insert(command.end(), arguments.begin(), arguments.end());
  for (const char* more : {"-D", image.c_str(), "-v1", "-o", "log"}) command.emplace_back(more);
  std::vector<char*> words;
  words.reserve(command.size() + 1);
  for (auto& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  auto start = Clock::now();
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    ::execvp(words[0], words.data());
    ::_exit(99);
  }
  int status = 0;
  rusage usage{};
  if (::wait4(pid, &status, 0, &usage) < 0) return fail_errno("wait4");
  double seconds = seconds_since(start);
  if (status != 0) return fail(fmt::format("criu {}: status {:#x}, see {}/log", arguments[0], status, image));
  return Feat{.seconds = seconds,
              .cpu_seconds = cpu_seconds(usage),
              .peak_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024};
}

// As a swap holds back what peers outside send: by a table that lasts as long as the process that has it. It is made
// before there are many descriptors: libnftables calls select(2).
class Hold {
 public:
  static Result<Hold> create() { return Hold(TRY(upgrade::HoldTable::create())); }

  Result<> of(std::span<const std::string> lines) {
    for (const std::string& line : lines)
      members_.push_back(upgrade::set_member(TRY(upgrade::parse_held_socket(line))));
    return members_.empty() ? Result<>() : table_.add(members_);
  }
  Result<> lift() { return members_.empty() ? Result<>() : table_.remove(members_); }

 private:
  explicit Hold(upgrade::HoldTable table) : table_(std::move(table)) {}
  upgrade::HoldTable table_;
  std::vector<upgrade::SetMember> members_;
};

std::string held_file(const std::string& image) { return image + ".held"; }

}  // namespace

Result<Feat> engine_dump(pid_t root, const std::string& image, bool leave_running) {
  return apart([&]() -> Result<Feat> {
    auto engine = TRY(engine::Engine::open());
    Hold hold = TRY(Hold::create());
    auto start = Clock::now();
    double cpu_start = own_cpu_seconds();
    auto frozen = TRY(engine.freeze({.root = root}));
    std::string held;
    auto hold_back = [&](std::span<const engine::NetworkSocket> sockets) -> Result<> {
      auto lines = TRY(upgrade::to_lines(sockets));
      for (const std::string& line : lines) held += line + "\n";
      return hold.of(lines);
    };
    auto report = TRY(frozen.dump(image, {.leave_running = leave_running, .hold = hold_back}));
    Feat feat{.seconds = seconds_since(start),
              .cpu_seconds = own_cpu_seconds() - cpu_start,
              .frozen_seconds = report.frozen_seconds,
              .memory_bytes = report.memory_bytes};
    if (leave_running) return feat;
    TRY(frozen.kill());
    Fd file = TRY(open_file(held_file(image), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY(write_all(file.get(), held, "held"));
    return feat;
  });
}

Result<Feat> engine_restore(const std::string& image) {
  return apart([&]() -> Result<Feat> {
    auto engine = TRY(engine::Engine::open());
    Hold hold = TRY(Hold::create());
    std::string held = TRY(read_file(held_file(image)));
    std::vector<std::string> lines;
    for (auto line : split(held, '\n'))
      if (!line.empty()) lines.emplace_back(line);
    TRY(hold.of(lines));
    auto start = Clock::now();
    double cpu_start = own_cpu_seconds();
    Result<> lifted;
    auto report = TRY(engine.restore(image, {.lift = [&] { lifted = hold.lift(); }}));
    TRY(std::move(lifted));
    return Feat{.seconds = seconds_since(start),
                .cpu_seconds = own_cpu_seconds() - cpu_start,
                .memory_bytes = report.memory_bytes};
  });
}

bool has_criu() {
  if (!criu_root().empty()) return true;
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : "";
  while (!rest.empty())
    if (::access((std::string(take_until(rest, ':')) + "/criu").c_str(), X_OK) == 0) return true;
  return false;
}

Result<Feat> criu_dump(pid_t root, const std::string& image, bool leave_running) {
  // The connections of a workload lead to itself.
  std::vector<std::string> arguments = {"dump",           "-t",  std::to_string(root), "--tcp-established",
                                        "--network-lock", "skip"};
  if (leave_running) arguments.emplace_back("--leave-running");
  return run_criu(image, arguments);
}

Result<Feat> criu_restore(const std::string& image) {
  return run_criu(image, {"restore", "-d", "--tcp-established", "--network-lock", "skip"});
}

}  // namespace ks::bench
