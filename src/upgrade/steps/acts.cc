// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <array>
#include <ctime>

#include "base/text.h"
#include "upgrade/kexec.h"
#include "upgrade/program.h"
#include "upgrade/steps/upgrade.h"

namespace ks::upgrade {

namespace {

constexpr char kHook[] = "kernel-swap.service";

// Its ExecStop= does the dump, so it must be up before the machine goes down.
Result<> start_hook(Upgrade& upgrade) {
  if (TRY(upgrade.bus->unit(kHook)).active_state == "active") return {};
  TRY(upgrade.bus->start(kHook));
  constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 50'000'000};
  for (int polls = 0; polls < 600; ++polls) {
    std::string state = TRY(upgrade.bus->unit(kHook)).active_state;
    if (state == "active") return {};
    if (state == "failed") break;
    ::nanosleep(&kPoll, nullptr);
  }
  return fail(std::string(kHook) + ": does not start; see systemctl status " + kHook);
}

Result<> load(Upgrade& upgrade) {
  std::string note;
  TRY(load_kernel(upgrade.kernel, upgrade.command_line, note));
  if (!note.empty()) upgrade.notes.push_back(note);
  return {};
}

Result<> unload(Upgrade&) { return unload_kernel(); }

Result<> say_which(Upgrade& upgrade) { return announce(*upgrade.file); }

Result<> unsay_which(Upgrade&) {
  withdraw_announcement();
  return {};
}

// systemctl asks logind, which heeds inhibitors, and knows more ways into the shutdown than we should.
Result<> go(Upgrade&) {
  auto end = TRY(run_program({"/usr/bin/systemctl", "--no-ask-password", "kexec"}));
  if (end.status != 0) return fail("systemctl kexec: " + std::string(trim(end.output)));
  return {};
}

constexpr std::array kActs = {Step{"hook", start_hook}, Step{"load", load, unload},
                              Step{"announcement", say_which, unsay_which}, Step{"kexec", go}};

}  // namespace

std::span<const Step> acts() { return kActs; }

}  // namespace ks::upgrade
