// SPDX-License-Identifier: LGPL-2.1-or-later
// A service's own directory in memory, which is copied, and in which the engine has files open: as over a boot.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "engine_process.h"
#include "family.h"
#include "subject.h"
#include "upgrade/manifest.h"
#include "upgrade/run_files.h"

namespace ks::test {
namespace {

using namespace upgrade;

class OwnDirectory : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
    subject_.emplace(place_, "own_directory", std::vector<std::string>{});
    ASSERT_EQ(subject_->await_ready(), "");
    directory_ = "/dev/shm/kernel-swap-test-" + std::to_string(subject_->pid());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  Workplace place_;
  std::optional<Subject> subject_;
};

TEST_F(OwnDirectory, ComesBackWithWhatIsOpenInIt) {
  std::string image = place_.file("image"), copies = place_.file("copies"), manifest = place_.file("manifest");
  pid_t pid = subject_->pid();
  auto run = survey_run("/dev/shm");
  ASSERT_TRUE(run) << run.error().what;
  RunFiles files = find_run_files(*run, {}, {}, {pid}, {});
  EXPECT_EQ(files.paths(), std::vector{directory_});
  ASSERT_EQ(files.remarks.size(), 1u);
  EXPECT_EQ(files.remarks[0].object, directory_ + "/old.pid");

  Outcome dumped = EngineProcess([&]() -> Result<> {
                     auto engine = TRY(engine::Engine::open());
                     auto frozen = TRY(engine.freeze({.root = pid}));
                     auto report = frozen.dump(image, {.refilled = files.paths()});
                     if (!report && !frozen.verdict().ready()) return fail(to_string(frozen.verdict().reasons[0]));
                     TRY(std::move(report));
                     Manifest saved;
                     saved.units.push_back({.name = "a", .places = TRY(save_places(files.places, pid, copies))});
                     TRY(replace_file(manifest, to_text(saved), 0600));
                     return frozen.kill();
                   }).wait();
  ASSERT_TRUE(dumped.done()) << dumped;
  forget_end(pid);
  std::filesystem::remove_all(directory_);

  auto saved = parse_manifest(read_file(manifest).value());
  ASSERT_TRUE(saved) << saved.error().what;
  std::vector<std::string> failed;
  auto kept = load_places(saved->units[0].places, ::getpid(), copies, failed);
  ASSERT_TRUE(kept) << kept.error().what;
  EXPECT_TRUE(kept->empty() && failed.empty());
  Outcome restored = EngineProcess::restore(image).wait();
  ASSERT_TRUE(restored.done()) << restored;
  subject_->tell();
  EXPECT_EQ(subject_->await_success(), "");
}

}  // namespace
}  // namespace ks::test
