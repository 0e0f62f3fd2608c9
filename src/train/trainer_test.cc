// The loop around a task that is four numbers and a parabola: what a run does when a number is not
// finite, when a disk is full, when it is stopped, made longer, or started where something lies.
#include "train/trainer_test.h"

#include <unistd.h>

#include "io/paths.h"

namespace longspan {
namespace {

// ---- numbers that are not finite ----------------------------------------------------------------

TEST_F(TrainerTest, AnUpdateThatIsNotFiniteIsLeftOutAndItsRowsAreNamed) {
  const TrainResult result = Run([](Parabola& task) { task.bad_loss = {5}; });
  EXPECT_EQ(result.skipped, 1);
  EXPECT_EQ(result.step, 12);
  EXPECT_NE(notes.find("step 5: loss nan"), std::string::npos) << notes;
  EXPECT_NE(notes.find("its rows: rows.csv:51"), std::string::npos) << notes;  // not rows.csv:50
  EXPECT_EQ(notes.find("rows.csv:50"), std::string::npos) << notes;
  EXPECT_EQ(Lines("train")[4]["skipped"], true);
  EXPECT_TRUE(Lines("train")[4]["loss"].is_null());
  const std::string skipped = numbers;
  EXPECT_EQ(skipped.find("nan"), std::string::npos);
  fs::remove_all(o.output);
  Run();
  EXPECT_NE(numbers, skipped);  // the update was not applied
}

// What a line of the log says is the mean over the updates since the last one, whether or not the
// run was interrupted between them.
TEST_F(TrainerTest, LinesOfTheLogAreMeansOfTheUpdatesSinceTheLastOne) {
  Run();
  const auto each = Lines("train");
  fs::remove_all(o.output);
  o.checkpoints.log_every = 5;
  Run();
  const auto means = Lines("train");
  ASSERT_EQ(means.size(), 3u);  // of updates 1 to 5, 6 to 10, 11 and 12
  const std::pair<std::size_t, std::size_t> parts[] = {{0, 5}, {5, 10}, {10, 12}};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto [begin, end] = parts[i];
    for (const char* field : {"loss", "grad_norm"}) {
      double sum = 0.0;
      for (std::size_t step = begin; step < end; ++step) sum += each[step][field].get<double>();
      EXPECT_NEAR(means[i][field], sum / static_cast<double>(end - begin), 1e-12) << field;
    }
    EXPECT_EQ(means[i]["step"], end);
  }
  fs::remove_all(o.output);
  idx_t updates = 0;
  should_stop = [&] { return ++updates == 7; };
  EXPECT_TRUE(Run().stopped);
  should_stop = {};
  o.checkpoints.resume = true;
  Run();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(Lines("train")[i]["loss"], means[i]["loss"]);
}

TEST_F(TrainerTest, AGradientThatIsNotFiniteBlamesAllRowsOfTheUpdate) {
  Run([](Parabola& task) { task.bad_gradient = {2}; });
  EXPECT_NE(notes.find("rows.csv:20, rows.csv:21"), std::string::npos) << notes;
  EXPECT_EQ(numbers.find("nan"), std::string::npos);
}

TEST_F(TrainerTest, ThreeInARowEndTheRunAndTheLastCheckpointStays) {
  EXPECT_TRUE(Throws([&] { Run([](Parabola& task) {
                             task.bad_loss = {7, 8, 9};
                           }); },
                     ErrorCode::kNumeric, "checkpoint-6 is whole"));
  EXPECT_EQ(Newest(), 6);
  EXPECT_NO_THROW(io::VerifyCheckpoint(o.output / "checkpoint-6"));
}

TEST_F(TrainerTest, TwoInARowAndOneLaterDoNotEndIt) {
  EXPECT_EQ(Run([](Parabola& task) { task.bad_loss = {4, 5, 7}; }).skipped, 3);
}

// The count is part of the state: a resumed run ends at the same update.
TEST_F(TrainerTest, TheCountOfSkippedUpdatesSurvivesAResume) {
  o.checkpoints.save_every = 1;
  idx_t updates = 0;
  should_stop = [&] { return ++updates == 5; };
  o.checkpoints.eval_every = 0;
  const auto bad = [](Parabola& task) { task.bad_loss = {4, 5, 6}; };
  EXPECT_TRUE(Run(bad).stopped);
  should_stop = {};
  o.checkpoints.resume = true;
  EXPECT_TRUE(Throws([&] { Run(bad); }, ErrorCode::kNumeric, "step 6"));
}

TEST_F(TrainerTest, WeightsThatAreNotFiniteAreNeverSaved) {
  o.optimizer.learning_rate = 1.0;
  o.checkpoints.save_every = 1;
  EXPECT_TRUE(Throws(
      [&] {
        Run([](Parabola& task) {
          task.on_save = [&task, saves = 0]() mutable {
            // What follows the fourth update's checkpoint is spoilt behind the loop's back.
            if (++saves == 5) task.parameters().Write().values().data[2] = kNan;
          };
        });
      },
      ErrorCode::kNumeric, "numbers holds nan"));
  for (const io::CheckpointInfo& checkpoint : io::ListCheckpoints(o.output)) {
    const auto file = io::SafetensorsFile::Open(checkpoint.path / "model.safetensors");
    std::vector<float> values(kNumbers);
    if (checkpoint.step < 4) file.ReadFloatInto("numbers", values);
    for (const float value : values) EXPECT_TRUE(std::isfinite(value));
  }
}

// ---- saving -------------------------------------------------------------------------------------

TEST_F(TrainerTest, ACheckpointIsThereBeforeTheFirstUpdate) {
  idx_t at_start = -1;
  on_event = [&](const TrainEvent& event) {
    if (event.kind != TrainEvent::Kind::kStart) return;
    at_start = Newest();
    EXPECT_EQ(event.text, "checkpoint-0");
  };
  Run();
  EXPECT_EQ(at_start, 0);
}

TEST_F(TrainerTest, TheFirstCheckpointComesInTimeWhateverTheRhythm) {
  o.checkpoints.save_every = 0;
  o.checkpoints.first_save_s = 0.0;
  Run();
  EXPECT_EQ(saves, (std::vector<idx_t>{1, 12}));  // the first, and the last
}

TEST_F(TrainerTest, ASaveThatIsAskedForComesBehindTheUpdate) {
  o.checkpoints.save_every = 0;
  idx_t asked = 0;
  should_save = [&] { return ++asked == 5; };
  Run();
  EXPECT_EQ(saves, (std::vector<idx_t>{5, 12}));
}

// A folder in the way of a file: the save fails with kIo, as on a full disk.
void Refuse() { throw Error(ErrorCode::kIo, "disk: cannot write: No space left on device"); }

TEST_F(TrainerTest, AFailedSaveIsSurvivedOnce) {
  const auto fail_at = [](std::set<int> which) {
    return [which](Parabola& task) {
      task.on_save = [which, saves = -1]() mutable {
        if (which.contains(++saves)) Refuse();
      };
    };
  };
  Run(fail_at({1, 3}));  // those of updates 3 and 9
  EXPECT_EQ(saves, (std::vector<idx_t>{6, 12}));
  EXPECT_NE(notes.find("step 3: checkpoint not saved: disk: cannot write"), std::string::npos);
  EXPECT_NE(notes.find("checkpoint-0 is whole, the training goes on"), std::string::npos) << notes;
  const std::string disturbed = numbers;
  o.output = d.path() / "calm";
  Run();
  EXPECT_EQ(numbers, disturbed);

  o.output = d.path() / "twice";
  EXPECT_TRUE(Throws([&] { Run(fail_at({2, 3})); }, ErrorCode::kIo, "checkpoint-3 is whole"));
  EXPECT_NO_THROW(io::VerifyCheckpoint(o.output / "checkpoint-3"));

  o.output = d.path() / "strict";
  o.checkpoints.survive_save_error = false;
  EXPECT_TRUE(Throws([&] { Run(fail_at({2})); }, ErrorCode::kIo, "step 6: checkpoint not saved"));

  o.output = d.path() / "at-once";
  EXPECT_TRUE(Throws([&] { Run(fail_at({0})); }, ErrorCode::kIo, "No space left"));
}

// ---- stopping -----------------------------------------------------------------------------------

TEST_F(TrainerTest, AStopEndsAnEvaluationAndTheResumedRunDoesItAgain) {
  Run();
  const std::string whole = numbers;
  const auto evaluations = Lines("eval");
  o.output = d.path() / "stopped";
  bool evaluating = false;
  on_event = [&](const TrainEvent& event) {
    evaluating = event.kind == TrainEvent::Kind::kEvaluating && event.step == 2;
  };
  idx_t seen = 0;
  should_stop = [&] { return evaluating && ++seen == 2; };  // in that of update 8
  const TrainResult stopped = Run();
  EXPECT_TRUE(stopped.stopped);
  EXPECT_EQ(stopped.step, 8);
  EXPECT_EQ(Newest(), 8);
  EXPECT_EQ(Lines("eval").size(), 1u);
  should_stop = {};
  on_event = {};
  o.checkpoints.resume = true;
  Run();
  EXPECT_EQ(numbers, whole);
  ASSERT_EQ(Lines("eval").size(), evaluations.size());
  for (std::size_t i = 0; i < evaluations.size(); ++i) {
    EXPECT_EQ(Lines("eval")[i]["step"], evaluations[i]["step"]);
    EXPECT_EQ(Lines("eval")[i]["loss"], evaluations[i]["loss"]);
  }
}

// ---- resuming and extending ---------------------------------------------------------------------

TEST_F(TrainerTest, ARunIsNotResumedWithAnotherModel) {
  Run();
  o.checkpoints.resume = true;
  EXPECT_NO_THROW(Run());
  WriteStart(o.model, 0.5f);
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kFormat, "is not the model that the run"));
}

TEST_F(TrainerTest, ARunWithoutAnyCheckpointIsNotStartedAgainInSilence) {
  Run();
  for (const auto& checkpoint : io::ListCheckpoints(o.output)) fs::remove_all(checkpoint.path);
  const std::string log = Read(o.output / "metrics.jsonl");
  o.checkpoints.resume = true;
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kFormat, "no checkpoint is left"));
  EXPECT_EQ(Read(o.output / "metrics.jsonl"), log);
}

TEST_F(TrainerTest, AnExtendedRunIsOneLongRunWhereTheScheduleAllows) {
  o.steps = 20;
  Run();
  const std::string whole = numbers;
  o.output = d.path() / "extended";
  o.steps = 12;
  Run();
  o.steps = 20;
  o.checkpoints.resume = true;
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "--extend"));
  o.checkpoints.resume = false;
  o.checkpoints.extend = true;
  EXPECT_EQ(Run().step, 20);
  EXPECT_EQ(numbers, whole);
  EXPECT_NE(notes.find("the bits are those of one long run"), std::string::npos) << notes;
  EXPECT_EQ(Run().step, 20);  // once more: there is nothing left to do
  o.steps = 15;
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "give more"));
}

TEST_F(TrainerTest, AnExtendedRunSaysWhereTheScheduleDoesNotAllowIt) {
  o.schedule.kind = ScheduleKind::kLinear;
  Run();
  o.steps = 20;
  o.checkpoints.extend = true;
  EXPECT_EQ(Run().step, 20);
  EXPECT_NE(notes.find("had the learning rates of a shorter run"), std::string::npos) << notes;
  o.output = d.path() / "nothing";
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "has no run"));
}

// ---- stopping
// ------------------------------------------------------------------------------------

TEST_F(TrainerTest, TheLastUpdateIsSavedBeforeItsEvaluation) {
  o.checkpoints.eval_every = 0;
  for (const idx_t every : {idx_t{0}, idx_t{12}}) {  // where it is due, and where it is not
    fs::remove_all(o.output);
    o.checkpoints.eval_every = o.checkpoints.save_every = every;
    idx_t evaluated = 0;
    on_event = [&](const TrainEvent& event) {
      if (event.kind != TrainEvent::Kind::kEvaluating) return;
      ++evaluated;
      EXPECT_EQ(Newest(), 12);
    };
    Run();
    EXPECT_EQ(evaluated, 4);  // one evaluation of four batches
    EXPECT_EQ(Lines("eval").size(), 1u);
  }
}

TEST_F(TrainerTest, AStopInTheLastEvaluationIsMadeUpForByResume) {
  Run();
  const std::string whole = Read(o.output / "metrics.jsonl"), result = numbers;
  const auto evals = Lines("eval").size();
  fs::remove_all(o.output);
  bool stop = false;
  should_stop = [&] { return stop; };
  on_event = [&](const TrainEvent& event) {
    stop = stop || (event.kind == TrainEvent::Kind::kEvaluating && event.step == 1 &&
                    Lines("train").size() == 12);
  };
  EXPECT_TRUE(Run().stopped);
  EXPECT_EQ(Newest(), 12);
  EXPECT_EQ(Lines("eval").size(), evals - 1);
  stop = false;
  on_event = {};
  o.checkpoints.resume = true;
  EXPECT_FALSE(Run().stopped);
  EXPECT_EQ(numbers, result);
  EXPECT_EQ(Lines("eval").size(), evals);
  const auto state = nlohmann::json::parse(Read(o.output / "checkpoint-12" / "trainer_state.json"));
  EXPECT_EQ(state["evaluated_step"], 12) << state;
}

// What a resumed run tells of its time is that of all its processes.
TEST_F(TrainerTest, TimeCountsThroughAResume) {
  idx_t updates = 0;
  should_stop = [&] {
    if (++updates < 7) return false;
    usleep(50'000);  // so that the first part has a time of its own
    return true;
  };
  const TrainResult first = Run();
  EXPECT_FALSE(first.resumed);
  EXPECT_EQ(first.total_seconds, first.seconds);
  should_stop = {};
  o.checkpoints.resume = true;
  const TrainResult second = Run();
  EXPECT_TRUE(second.resumed);
  EXPECT_GE(second.total_seconds, second.seconds + 0.05);
  double before = 0.0;
  for (const nlohmann::json& line : Lines("train")) {
    EXPECT_GE(line["seconds"], before);
    before = line["seconds"];
  }
  const TrainResult third = Run();  // nothing is left to do
  EXPECT_NEAR(third.total_seconds, second.total_seconds, third.seconds + second.seconds);
}

TEST_F(TrainerTest, TimeIsCountedByWhatItWentFor) {
  o.steps = 2;
  o.checkpoints.eval_every = o.checkpoints.save_every = 2;
  const auto sleep = [](int ms) { usleep(static_cast<useconds_t>(1000 * ms)); };
  on_event = [&](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep) sleep(10);
  };
  const TrainResult result = Run([&](Parabola& task) {
    task.on_draw = [&](idx_t) { sleep(5); };
    task.on_batch = [&](idx_t) { sleep(5); };  // of two micro-batches
    task.on_accumulate = [&](idx_t) { sleep(20); };
    task.on_evaluate = [&] { sleep(30); };
    task.on_save = [&] { sleep(40); };
  });
  const TrainTimes& times = result.times;
  EXPECT_GE(times.data, 2 * 0.015);
  EXPECT_GE(times.computing, 2 * 0.040);
  EXPECT_GE(times.log, 2 * 0.010);
  EXPECT_GE(times.saves, 0.040);
  EXPECT_GE(times.evaluations, 0.030);
  EXPECT_LE(times.Updates() + times.evaluations, result.seconds);
  // Nothing is counted twice.
  EXPECT_LE(times.data + times.computing + times.log, result.seconds - 0.070);
}

// ---- starting where something lies --------------------------------------------------------------

TEST_F(TrainerTest, OverwriteClearsWhatARunWrote) {
  Run();
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "not empty"));
  o.checkpoints.overwrite = true;
  saves.clear();
  Run();
  EXPECT_EQ(saves, (std::vector<idx_t>{3, 6, 9, 12}));
  EXPECT_EQ(Lines("train").size(), 12u);
}

TEST_F(TrainerTest, OverwriteLeavesWhatPeopleWrote) {
  Run();
  o.checkpoints.overwrite = true;
  const std::vector<std::pair<std::string, std::string>> strange = {
      {"notes.txt", "notes.txt"},
      {"checkpoint-12/notes.txt", "checkpoint-12"},          // in a folder of ours
      {"checkpoint-99/pytorch_model.bin", "checkpoint-99"},  // of somebody else's training
      {"1_Pooling/mine.json", "1_Pooling"},
      {"numbers.txt", "numbers.txt"},  // ours once, changed since
  };
  for (const auto& [name, shown] : strange) {
    SCOPED_TRACE(name);
    const fs::path path = o.output / name;
    const bool ours = fs::exists(path);
    const std::string before = ours ? Read(path) : "";
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::app) << "mine";
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "has " + shown));
    EXPECT_EQ(Read(path), before + "mine");
    EXPECT_EQ(Newest(), name.starts_with("checkpoint-99") ? 99 : 12);
    fs::remove(path);
    if (ours) std::ofstream(path) << before;
    if (name.starts_with("checkpoint-99")) fs::remove_all(path.parent_path());
  }
  EXPECT_NO_THROW(Run());
}

TEST_F(TrainerTest, OverwriteNeverTakesTheModelOrATextHoweverTheyAreSpelt) {
  Run();
  o.checkpoints.overwrite = true;
  const fs::path run = o.output, link = d.path() / "link";
  fs::create_directory_symlink(run, link);
  const fs::path model = d.path() / "linked-model";  // a cache: files that are links
  fs::create_directories(model);
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::create_symlink(run / "checkpoint-12" / name, model / name);
  }
  const std::vector<fs::path> spelt = {run,
                                       run.string() + "/",
                                       run / ".",
                                       run / ".." / "run",
                                       link,
                                       run / "checkpoint-12",
                                       link / "checkpoint-12",
                                       model};
  for (const fs::path& path : spelt) {
    SCOPED_TRACE(path.string());
    o.model = path;
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "the model to start from"));
    o.output = link;
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "the model to start from"));
    o.output = run;
  }
  o.model = d.path() / "start";
  for (const char* text : {"metrics.jsonl", "config.json", "best.json"}) {
    SCOPED_TRACE(text);
    o.data.train = {run / text};
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "a text"));
    o.data.train = {};
    o.data.eval = link / text;
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "a text"));
    o.data.eval = fs::path();
  }
  EXPECT_EQ(Newest(), 12);
  EXPECT_NO_THROW(Run());
}

TEST_F(TrainerTest, ARunMayLieInTheFolderOfItsModel) {
  o.output = o.model / "runs" / "first";
  Run();
  o.checkpoints.overwrite = true;
  EXPECT_NO_THROW(Run());
  EXPECT_TRUE(fs::exists(o.model / "model.safetensors"));
}

TEST_F(TrainerTest, NothingIsClearedBeforeTheModelIsRead) {
  Run();
  o.checkpoints.overwrite = true;
  o.model = d.path() / "broken";
  fs::create_directories(o.model);
  std::ofstream(o.model / "model.safetensors") << "no weights";
  EXPECT_THROW(Run(), Error);
  EXPECT_NO_THROW(io::VerifyCheckpoint(o.output / "checkpoint-12"));
  EXPECT_EQ(Lines("train").size(), 12u);
}

}  // namespace
}  // namespace longspan
