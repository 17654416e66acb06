// SPDX-License-Identifier: LGPL-2.1-or-later
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <functional>

#include <fmt/core.h>

#include "upgrade/cli/verbs.h"
#include "upgrade/config.h"

namespace {

using namespace ks::upgrade;

class Interface {
 public:
  Interface() {
    app_.set_version_flag("--version", "kernel-swap " KS_VERSION);
    app_.require_subcommand(1);
    app_.get_formatter()->column_width(34);

    auto* now = add("now", "put the machine on a new kernel; marked services go on", now_);
    auto* image = kernel(now, now_.kernel, now_.kernel_image);
    now->add_option("--initrd", now_.initrd, "the initial RAM file system of --kernel-image")
        ->type_name("FILE")
        ->needs(image);
    now->add_option("--append", now_.append, "more words for the new kernel's command line")->type_name("WORDS");
    now->add_flag("--dry-run", now_.dry_run, "stop after the checks and print the verdicts");
    now->add_flag("--skip-unready", now_.skip_unready, "go on without units that cannot be carried over");
    json(now, now_.json);

    auto* check = add("check", "tell whether units can be carried over, and why not", check_);
    check->add_option("UNIT", check_.units, "services; every marked one otherwise");
    kernel(check, check_.kernel, check_.kernel_image);
    json(check, check_.json);

    json(add("list", "list the marked units", list_), list_.json);
    add("enable", "mark units", enable_)->add_option("UNIT", enable_.units, "services")->required();
    add("disable", "take the mark from units", disable_)->add_option("UNIT", disable_.units, "services")->required();
    json(add("status", "tell how the last swap ended", status_), status_.json);

    auto* checkpoint = add("checkpoint", "write the image of a process tree or a unit, and end it", checkpoint_);
    auto* what = checkpoint->add_option_group("what");
    what->add_option("--pid", checkpoint_.pid, "a process and its descendants")
        ->type_name("PID")
        ->check(CLI::PositiveNumber);
    what->add_option("--unit", checkpoint_.unit, "a running service")->type_name("UNIT");
    what->require_option(1);
    checkpoint->add_option("DIR", checkpoint_.directory, "the image; must not exist")->required();
    checkpoint->add_flag("--leave-running", checkpoint_.leave_running, "do not end the processes");
    json(checkpoint, checkpoint_.json);

    auto* restore = add("restore", "bring the processes of an image back", restore_);
    restore->add_option("DIR", restore_.directory, "the image")->required();
    restore->add_option("--pidfile", restore_.pidfile, "write the root process's PID there")->type_name("FILE");
    json(restore, restore_.json);

    auto* inspect = add("inspect", "tell what an image holds", inspect_);
    inspect->add_option("DIR", inspect_.directory, "the image")->required();
    json(inspect, inspect_.json);
  }

  int main(int argc, char** argv) {
    auto named = [&](const CLI::App* sub) { return sub->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && app_.get_subcommands(named).empty()) {
      fmt::print(stderr, "kernel-swap: {}: no such verb; see kernel-swap --help\n", argv[1]);
      return kUsage;
    }
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
      return app_.exit(asked);
    } catch (const CLI::ParseError& wrong) {
      fmt::print(stderr, "kernel-swap: {}\n", wrong.what());
      return kUsage;
    }
    auto status = chosen_();
    if (status) return *status;
    fmt::print(stderr, "kernel-swap: {}\n", status.error().what);
    return status.error().refusal ? kRefused : kFailed;
  }

 private:
  template <class Verb>
  CLI::App* add(const char* name, const char* what, const Verb& verb) {
    auto* sub = app_.add_subcommand(name, what);
    sub->callback([this, &verb] { chosen_ = [&verb] { return run(verb); }; });
    return sub;
  }
  // Returns the second option.
  static CLI::Option* kernel(CLI::App* sub, std::string& version, std::string& image) {
    auto* by_version = sub->add_option("--kernel", version, "an installed kernel; the newest one otherwise");
    auto* by_file = sub->add_option("--kernel-image", image, "a kernel by its file");
    by_version->type_name("VERSION");
    return by_file->type_name("FILE")->excludes(by_version);
  }
  static void json(CLI::App* sub, bool& flag) { sub->add_flag("--json", flag, "report in JSON"); }

  CLI::App app_{"Puts a running machine on a new kernel; marked services go on. See kernel-swap(8).", "kernel-swap"};
  std::function<ks::Result<int>()> chosen_;
  Now now_;
  Check check_;
  List list_;
  Status status_;
  Enable enable_;
  Disable disable_;
  Checkpoint checkpoint_;
  Restore restore_;
  Inspect inspect_;
};

}  // namespace

int main(int argc, char** argv) { return Interface().main(argc, argv); }
