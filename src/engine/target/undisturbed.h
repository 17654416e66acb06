// SPDX-License-Identifier: LGPL-2.1-or-later
// Work during which something of a stopped process is not in its place, and that nobody may see half done.
#pragma once

#include <functional>

#include "base/result.h"

namespace ks::engine {

// A child that does not end with us does the work: should we be killed, it holds us back, and with us those whom we
// trace, until it is done. Should only the child be killed, the work is called once more, here: it has to find out
// from what it left, in memory that both have, how far it was. Returns what the work did; a refusal where somebody
// traces us.
Result<bool> do_undisturbed(const std::function<bool()>& work);

}  // namespace ks::engine
