// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/proc.h"
#include "target.h"

namespace ks::fuzz {

void run(std::string_view input) {
  auto status = engine::parse_status(input);
  if (!status) return require(status.error().what.starts_with("line "), "an error names the line");
  require(input.find("Pid:") != std::string_view::npos, "a task has a number");
}

std::vector<std::string> seeds() {
  return {
      "Name:\tdaemon\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t41\nPid:\t42\nTracerPid:\t0\n"
      "Uid:\t10\t11\t12\t13\nGid:\t20\t21\t22\t23\nGroups:\t4 24 4294967294 \nNSpid:\t42\t8\n",
      "Name:\t a\\n\\\\: \nPid:\t1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\n"
      "SigBlk:\t8000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180014002\n",
      "Pid:\t1\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001fffffffffe\n"
      "CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n"
      "untag_mask:\t0xffffffffffffffff\nx86_Thread_features:\tshstk wrss \n",
  };
}

}  // namespace ks::fuzz
