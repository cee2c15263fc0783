# The server without TensorFlow, compiler and root. `tools/container.py` runs the same steps in a virtual environment.
# `tools/pin.py` replaces the tag of the base image by its digest when it is online.
FROM python:3.11-slim AS build
COPY requirements-build.txt /requirements-build.txt
RUN pip install --no-cache-dir --require-hashes -r /requirements-build.txt
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /src

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-serve.txt /requirements-serve.txt
RUN pip install --no-cache-dir --require-hashes -r /requirements-serve.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-deps --no-index --find-links /wheels pneumonia-nbdev
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pneumonia
USER 10001
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health/ready', timeout=4)"]
# The server doesn't start without PNEUMONIA_API_KEY and PNEUMONIA_ALLOWED_HOSTS, because others can reach it.
ENTRYPOINT ["pneumonia", "serve", "--host", "0.0.0.0"]
