// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ostream>
#include <thread>

#include "base/file.h"
#include "family.h"

namespace ks::test {

namespace {

constexpr auto kLimit = 60s;

Result<> dump_to(pid_t root, const std::string& directory, const DumpPlan& plan) {
  auto engine = TRY(engine::Engine::open());
  if (plan.next_kernel) engine.prepare({.root = root}, *plan.next_kernel);
  auto frozen = TRY(engine.freeze({.root = root}));
  std::this_thread::sleep_for(plan.linger);
  auto report = frozen.dump(directory, {.leave_running = plan.leave_running,
                                        .foreign_namespaces = plan.foreign_namespaces,
                                        .emptied = plan.emptied,
                                        .made_anew = plan.made_anew,
                                        .starter = plan.starter,
                                        .reset_external_sockets = plan.reset_external_sockets,
                                        .leave_network_settings = plan.leave_network_settings,
                                        .next_kernel = plan.next_kernel});
  if (!report && report.error().refusal) {
    std::string reasons;
    for (const auto& reason : frozen.verdict().reasons) reasons += to_string(reason) + "\n";
    return refuse(reasons.empty() ? report.error().what : reasons);
  }
  TRY(std::move(report));
  if (!plan.leave_running) TRY(frozen.kill());
  return {};
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  constexpr const char* kNames[] = {"done", "failed", "refused", "killed", "hung"};
  return out << kNames[static_cast<int>(outcome.end)] << ": " << outcome.text;
}

EngineProcess::EngineProcess(const std::function<Result<>()>& work) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return;
  answer_ = Fd(fds[0]);
  Fd mine(fds[1]);
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  answer_ = Fd();
  auto result = work();
  if (!result) (void)write_all(mine.get(), result.error().what, "answer");
  ::_exit(result ? 0 : result.error().refusal ? 3 : 1);
}

EngineProcess EngineProcess::dump(pid_t root, const std::string& directory, const DumpPlan& plan) {
  return EngineProcess([&] { return dump_to(root, directory, plan); });
}

EngineProcess EngineProcess::restore(const std::string& directory, pid_t into) {
  return EngineProcess([&]() -> Result<> {
    auto engine = TRY(engine::Engine::open());
    TRY(engine.restore(directory, {.into = into}));
    return {};
  });
}

void EngineProcess::kill() { ::kill(pid_, SIGKILL); }

Outcome EngineProcess::wait() {
  auto status = await_end(pid_, kLimit * patience());
  if (!status) {
    std::string where = where_threads_are(::getpid());
    kill();
    (void)await_end(pid_, kLimit);
    return {Outcome::End::hung, where};
  }
  // Restored processes do not hold the other end: it is closed in them.
  std::string text = read_all(answer_.get(), "answer").value_or("no answer");
  if (WIFSIGNALED(*status)) return {Outcome::End::killed, "by signal " + std::to_string(WTERMSIG(*status))};
  switch (WEXITSTATUS(*status)) {
    case 0:
      return {Outcome::End::done, text};
    case 3:
      return {Outcome::End::refused, text};
    default:
      return {Outcome::End::failed, text};
  }
}

Outcome restore_when_free(const std::string& directory) {
  Outcome outcome;
  for (auto limit = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < limit;) {
    outcome = EngineProcess::restore(directory).wait();
    if (outcome.text.find("pid ") == std::string::npos || !outcome.text.ends_with(" is taken")) break;
    std::this_thread::sleep_for(20ms);
  }
  return outcome;
}

}  // namespace ks::test
