// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel under which an image is to be restored, if that is another one. Part of the engine's public face.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

class NextKernel {
 public:
  // By its file, open for reading; `name` is for errors.
  static NextKernel of_file(Fd file, std::string name);
  // Of which nothing is known.
  static NextKernel unknown(std::string why);

  struct Facts {
    std::string release;  // as `uname -r` will say
    KernelTypes types;
    Result<> rings;  // whether they can come back
  };
  // Read when the first asks, once, also for copies: that takes some tenths of a second, and for that time
  // 100 MiB of memory.
  const Result<Facts>& facts() const;
  // Whether rings of io_uring(7) can come back under it as programs know them; a refusal says why not.
  Result<> takes_rings() const;

 private:
  struct State;
  explicit NextKernel(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace ks::engine
