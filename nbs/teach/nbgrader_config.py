"""nbgrader's settings for this course. Copy this file and the folder `source` into a folder of your own: see grading.md."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "vehicle_nb"
# A cell may take five minutes. One that takes longer is stopped and counts as failed; the cells after it still run.
c.Execute.timeout = 300
c.Execute.interrupt_on_timeout = True
# `nbgrader zip_collect` knows by the file's name who hands it in, and for which assignment: marie_06_cnn.ipynb.
c.FileNameCollectorPlugin.named_regexp = r".*/(?P<student_id>[^_/]+)_(?P<file_id>\d\d_\w+)"
