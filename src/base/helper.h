// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <functional>

namespace ks {

// For a thread that has been bound to some.
void use_every_cpu();

// For a thread that helps another: that one may be bound to a CPU, and signals are its own.
void become_helper();

// `work` of each number below `count`. Where there are many, a thread helps: the caller counts from the front, the
// thread from the back, until they meet, so that a busy machine, on which the thread does not get its turn, is no
// slower.
void work_from_both_ends(size_t count, const std::function<void(size_t)>& work);

}  // namespace ks
