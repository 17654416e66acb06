// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/steps/upgrade.h"

namespace ks::upgrade {

Result<> run_steps(std::span<const Step> steps, Upgrade& upgrade) {
  for (size_t at = 0; at < steps.size(); ++at) {
    auto done = steps[at].run(upgrade);
    if (done) continue;
    Error error = std::move(done.error());
    // The failed step too: it may have got halfway.
    for (size_t back = at + 1; back-- > 0;) {
      if (!steps[back].undo) continue;
      if (auto undone = steps[back].undo(upgrade); !undone)
        error.what += "; undoing " + std::string(steps[back].name) + ": " + undone.error().what;
    }
    return std::unexpected(std::move(error));
  }
  return {};
}

}  // namespace ks::upgrade
