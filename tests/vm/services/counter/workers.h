// SPDX-License-Identifier: LGPL-2.1-or-later
// The threads of the counter. None of these functions returns.
#pragma once

[[noreturn]] void keep_deadlines();  // sleeps by absolute times of CLOCK_MONOTONIC
[[noreturn]] void keep_registers();  // has its state in vector and x87 registers, also while it sleeps
[[noreturn]] void give_turns();      // these two pass a number to and fro
[[noreturn]] void take_turns();      // under a mutex, with condition variables
