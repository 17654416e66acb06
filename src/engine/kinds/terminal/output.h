// SPDX-License-Identifier: LGPL-2.1-or-later
// Output of a pseudo-terminal that the master has not read. Nobody can look: whoever reads it takes it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"

namespace ks::engine::terminal {

// What the line discipline of the master holds. If it holds as much, there may be more in the buffers before it,
// which nobody can ask, and which do not always take back all that they have held.
inline constexpr size_t kMostOutput = 4095;

// All of it, taken and put back by the slave's end. In memory that outlives each of those who do it.
class OutputTurnover {
 public:
  static Result<OutputTurnover> prepare(int master, int slave);
  // Whether everything is in its place again; can be called again if not, or if who did it was killed.
  bool carry_out();
  std::string output() const;

 private:
  struct Taken;
  struct Unmap {
    void operator()(Taken* taken) const;
  };
  OutputTurnover(int master, int slave, std::unique_ptr<Taken, Unmap> taken)
      : master_(master), slave_(slave), taken_(std::move(taken)) {}
  bool take_all();
  bool put_all_back();

  int master_, slave_;
  std::unique_ptr<Taken, Unmap> taken_;
};

// What has arrived. What is still on its way is waited for only if nothing has.
Result<size_t> waiting_output(int master);
// Undisturbed (target/undisturbed.h).
Result<std::string> read_output(int master, int slave);
// As it is, whatever the slave's settings make of what is written.
Result<> put_output(int slave, const std::string& output);

}  // namespace ks::engine::terminal
